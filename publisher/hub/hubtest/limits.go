package hubtest

import (
	"fmt"
	"net/http"
)

// window is the five minutes in which requests are counted.
type window struct {
	start int64 // unix seconds
	used  int
}

const windowSeconds = 300

// limit counts a request of the API, and tells the limit in every answer as the Hub does.
func (h *hub) limit(q *request) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.o.Now().Unix()
	if now >= h.window.start+windowSeconds {
		h.window = window{start: now}
	}
	h.window.used++
	quota := h.o.RequestsLimit
	if quota == 0 {
		quota = 1_000_000
	}
	left, ends := max(0, quota-h.window.used), h.window.start+windowSeconds-now
	q.w.Header().Set("RateLimit", fmt.Sprintf(`"api";r=%d;t=%d`, left, ends))
	q.w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"fixed window";"api";q=%d;w=%d`, quota, windowSeconds))
	if h.window.used > quota {
		return refused(http.StatusTooManyRequests, "We had to rate limit you.")
	}
	return nil
}

// quota counts a commit. Its limit is told in words only. The caller holds mu.
func (h *hub) quota() error {
	if h.o.CommitsPerHour == 0 {
		return nil
	}
	now := h.o.Now().Unix()
	for len(h.made) > 0 && h.made[0] <= now-3600 {
		h.made = h.made[1:]
	}
	if len(h.made) >= h.o.CommitsPerHour {
		return refused(http.StatusTooManyRequests, "%s", quotaText(h.o.CommitsPerHour))
	}
	h.made = append(h.made, now)
	return nil
}
