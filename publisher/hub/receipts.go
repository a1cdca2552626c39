package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
)

// receipts are what storage answered to the parts of an upload, kept in a file of Options.Receipts so that a process that comes after one that
// was killed sends only what is missing. They are of use for that upload alone, whose address is kept as its digest: it is signed.
type receipts struct {
	Upload string          `json:"upload"`
	Chunk  int64           `json:"chunk"`
	Parts  map[int]receipt `json:"parts"` // by number from 1
}

type receipt struct {
	ETag string `json:"etag"`
	Sum  string `json:"sha256"`
}

func (c *Client) receiptsFile(oid string) string { return filepath.Join(c.o.Receipts, oid+".json") }

func uploadDigest(href string) string {
	sum := sha256.Sum256([]byte(href))
	return hex.EncodeToString(sum[:])
}

// recall fills in the parts that an earlier process sent of the same upload. What cannot be read is sent again.
func (c *Client) recall(oid string, p *parts) {
	if c.o.Receipts == "" {
		return
	}
	var kept receipts
	data, err := os.ReadFile(c.receiptsFile(oid))
	if err != nil || json.Unmarshal(data, &kept) != nil || kept.Upload != uploadDigest(p.href) || kept.Chunk != p.chunk {
		return
	}
	for n, r := range kept.Parts {
		if sum, err := hex.DecodeString(r.Sum); err == nil && len(sum) == sha256.Size && r.ETag != "" {
			p.etags[n], p.sums[n] = r.ETag, [sha256.Size]byte(sum)
		}
	}
}

// keep writes down the receipts of an upload. Where that fails, no more is lost than they are worth.
func (c *Client) keep(oid string, p *parts) {
	if c.o.Receipts == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := receipts{Upload: uploadDigest(p.href), Chunk: p.chunk, Parts: map[int]receipt{}}
	for n, etag := range p.etags {
		sum := p.sums[n]
		kept.Parts[n] = receipt{etag, hex.EncodeToString(sum[:])}
	}
	data, err := json.Marshal(kept)
	file := c.receiptsFile(oid)
	if err == nil {
		err = os.MkdirAll(c.o.Receipts, 0o700)
	}
	if err == nil {
		err = os.WriteFile(file+".half", data, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".half", file)
	}
	if err != nil {
		c.o.Log.Warn().Err(err).Msg("the receipts of an upload could not be kept: after a kill it is sent again")
	}
}

// lose forgets the receipts of an upload that is complete, or worth nothing.
func (c *Client) lose(oid string) {
	if c.o.Receipts != "" {
		_ = os.Remove(c.receiptsFile(oid)) // stale ones are of no upload
	}
}
