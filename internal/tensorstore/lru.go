package tensorstore

import "container/list"

// lru keeps the values used last, up to a total weight.
type lru[V any] struct {
	room  int64
	order *list.List // of *item[V], the latest in front
	items map[string]*list.Element
}

type item[V any] struct {
	key    string
	value  V
	weight int64
}

func newLRU[V any](room int64) lru[V] {
	return lru[V]{room: room, order: list.New(), items: map[string]*list.Element{}}
}

func (l *lru[V]) get(key string) (v V, ok bool) {
	e, ok := l.items[key]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*item[V]).value, true
}

// add keeps v; a value heavier than all the room is not kept.
func (l *lru[V]) add(key string, v V, weight int64) {
	if weight > l.room {
		return
	}
	if e, ok := l.items[key]; ok {
		l.drop(e)
	}
	l.items[key] = l.order.PushFront(&item[V]{key: key, value: v, weight: weight})
	l.room -= weight
	for l.room < 0 {
		l.drop(l.order.Back())
	}
}

func (l *lru[V]) drop(e *list.Element) {
	it := l.order.Remove(e).(*item[V])
	delete(l.items, it.key)
	l.room += it.weight
}
