package judge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// validateReport is the report that flashinfer-bench writes, as far as it is asked.
type validateReport struct {
	Definitions map[string]map[string]json.RawMessage `json:"definitions"` // by check, and "status"
}

type validateResult struct {
	Status   string `json:"status"`
	Messages []struct {
		Level   string `json:"level"`
		Message string `json:"message"`
	} `json:"messages"`
}

// readValidate turns the report into findings. A definition or a check that was asked for and is not in it is an error: nothing was
// found because nothing was looked at.
func readValidate(data []byte, definitions []string) (*Report, error) {
	var in validateReport
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("report of flashinfer-bench validate: %w", err)
	}
	if in.Definitions == nil {
		return nil, fmt.Errorf("report of flashinfer-bench validate has no definitions: its format is another than known here")
	}
	rep := &Report{}
	for _, name := range definitions {
		if _, ok := in.Definitions[name]; !ok {
			rep.Findings = append(rep.Findings, Finding{Code: DefinitionMissing, Severity: Refuse, Definition: name,
				Message: "flashinfer-bench validate found no such definition in the dataset"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Definitions)) {
		rep.Counts.Definitions++
		for _, check := range validateChecks {
			var r *validateResult
			if err := json.Unmarshal(in.Definitions[name][check], &r); err != nil || r == nil {
				return nil, fmt.Errorf("report of flashinfer-bench validate: definitions.%s.%s is missing or no result: it was asked for", name, check)
			}
			findings, err := r.findings(name, check)
			if err != nil {
				return nil, fmt.Errorf("report of flashinfer-bench validate: definitions.%s.%s: %w", name, check, err)
			}
			rep.Findings = append(rep.Findings, findings...)
		}
	}
	return rep, nil
}

func (r *validateResult) findings(definition, check string) ([]Finding, error) {
	var list []Finding
	f := Finding{Code: Code("validate_" + check), Definition: definition}
	for _, m := range r.Messages {
		f.Message, f.Workload = strings.Join(strings.Fields(m.Message), " "), workloadOf(m.Message)
		switch m.Level {
		case "error":
			f.Severity = Refuse
		case "warning":
			f.Severity = Warn
		case "info":
			continue
		default:
			return nil, fmt.Errorf("a message has level %q, must be info, warning or error", m.Level)
		}
		list = append(list, f)
	}
	// The status is the worst of the messages; one that is worse than them would be lost otherwise.
	if refused := slices.ContainsFunc(list, func(f Finding) bool { return f.Severity == Refuse }); r.Status == "error" && !refused {
		f.Severity, f.Workload, f.Message = Refuse, "", "status is error, without a message that says why"
		list = append(list, f)
	}
	return list, nil
}

// workloadOf gives the uuid that a message begins with: "UUID: …" or "workload UUID: …".
func workloadOf(message string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(message, "workload "), ":")
	if _, err := uuid.Parse(first); err != nil {
		return ""
	}
	return first
}
