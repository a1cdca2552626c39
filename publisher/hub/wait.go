package hub

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// step gives the wait after a try, counted from 0, where the Hub asks for none: 1, 2, 4 and then 8 seconds.
func step(try int) time.Duration { return time.Second << min(try, 3) }

var (
	// An action's own quota is told in words only: "You have exceeded the rate limit for repository commits (128 per hour). You
	// can retry this action in about 1 hour". The RateLimit header beside it is of another limit.
	actionQuota = regexp.MustCompile(`(?i)exceeded the rate limit for .*\b(\d+|an?|one) per (second|minute|hour|day)`)
	actionWait  = regexp.MustCompile(`(?i)retry this action in (?:about |less than |over )?(\d+|an?|one) (second|minute|hour|day)`)
	// rateLimit is one bucket of the RateLimit header: "api";r=0;t=156.
	rateLimit = regexp.MustCompile(`;\s*r=(\d+)\s*;\s*t=(\d+)`)
)

var units = map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

// retryAfter says how long an answer asks to wait; 0 where it does not say. The order matters: only the words tell of an
// action's quota, and t of the RateLimit header means something only where nothing remains (r=0).
func retryAfter(status int, h http.Header, message string, now time.Time) time.Duration {
	if status == http.StatusTooManyRequests {
		if m := actionWait.FindStringSubmatch(message); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				n = 1 // an hour
			}
			return time.Duration(n) * units[strings.ToLower(m[2])]
		}
		if m := actionQuota.FindStringSubmatch(message); m != nil {
			return units[strings.ToLower(m[2])]
		}
		for _, m := range rateLimit.FindAllStringSubmatch(h.Get("RateLimit"), -1) {
			if t, err := strconv.Atoi(m[2]); err == nil && m[1] == "0" {
				return time.Duration(t+1) * time.Second
			}
		}
	}
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
	default:
		return 0
	}
	value := h.Get("Retry-After")
	if s, err := strconv.Atoi(value); err == nil && s >= 0 {
		return time.Duration(s+1) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now) + time.Second
	}
	return 0
}
