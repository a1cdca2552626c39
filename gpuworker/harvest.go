package gpuworker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/proto"
)

// What is taken of FlashInfer's trace dump: it writes a file a function and combination of constant sizes, in one folder.
const (
	mostHarvested = 512
	evidenceFile  = "evidence.json"
)

// gather stores the definitions that FlashInfer wrote into dir while the engine ran, and what the dumped calls say of the functions
// they are of, each under the digest of its content. What is no JSON, or too large for a message, is said and left out.
func (a *attempt) gather(ctx context.Context, dir string, evidence *manifest.Evidence) ([]proto.Harvested, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, fmt.Errorf("read trace dump: %w", err)
	}
	var list []proto.Harvested
	leave := func(name, why string) {
		a.log.Warn().Str("file", name).Msg("trace file left out: " + why)
		a.report.say(ctx, proto.LevelWarn, proto.StageEngine, fmt.Sprintf("trace file %s is left out: %s", name, why), nil)
	}
	put := func(name string, data []byte) error {
		digest, err := a.w.opt.Bus.PutDefinition(ctx, data)
		if err != nil {
			return fmt.Errorf("store trace file %s: %w", name, err)
		}
		list = append(list, proto.Harvested{File: name, Digest: digest})
		return nil
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" || !e.Type().IsRegular() || e.Name() == evidenceFile {
			continue
		}
		info, err := e.Info()
		switch {
		case err != nil:
			return nil, fmt.Errorf("read trace dump: %w", err)
		case len(list) == mostHarvested:
			leave(e.Name(), fmt.Sprintf("there are more than %d", mostHarvested))
			continue
		case info.Size() > proto.MaxMessageBytes:
			leave(e.Name(), fmt.Sprintf("it has %d bytes, the limit is %d", info.Size(), proto.MaxMessageBytes))
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read trace dump: %w", err)
		}
		if !json.Valid(data) {
			leave(e.Name(), "it is not JSON: FlashInfer was stopped while it wrote")
			continue
		}
		if err := put(e.Name(), data); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	data, err := evidence.JSON()
	switch {
	case err != nil:
		return nil, fmt.Errorf("store trace files: %w", err)
	case data == nil:
	case len(data) > proto.MaxMessageBytes:
		leave(evidenceFile, fmt.Sprintf("it has %d bytes", len(data)))
	default:
		if err := put(evidenceFile, data); err != nil {
			return nil, err
		}
	}
	return list, nil
}
