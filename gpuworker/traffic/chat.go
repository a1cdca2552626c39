package traffic

import (
	"math/rand/v2"
	"strings"
)

// vocabulary is what made-up messages consist of: words so common that a tokenizer has one token for each.
var vocabulary = strings.Fields(`the of and to in a is that for it as was with be by on not he his but at are this have from or had an
	they which one you were her all she there would their we him been has when who will more no if out so said what up its about
	into than them can only other new some could time these two may then do first any my now such like our over man me even most
	made after also did many before must through back years where much your way well down should because each just those people
	too how little state good very make world still own see men work long get here between both life being under never day same
	another know while last might us great old year off come since against go came right used take three`)

// words draws n of them.
func (s *Source) words(rng *rand.Rand, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = vocabulary[rng.IntN(len(vocabulary))]
	}
	return list
}

// messages makes the chat of a request of n tokens: a shared prefix, as a system message, and the user's words.
func (s *Source) messages(i, n, prefix int, rng *rand.Rand) []Message {
	var list []Message
	if prefix >= 0 {
		shared := s.prefixes[prefix]
		list = append(list, Message{Role: "system", Content: strings.Join(s.words(s.rng("prefix", prefix), shared), " ")})
		n = max(n-shared, 1)
	}
	if s.recorded != nil {
		return append(list, Message{Role: "user", Content: s.recorded.kept[i%len(s.recorded.kept)].text})
	}
	return append(list, Message{Role: "user", Content: strings.Join(s.words(rng, n), " ")})
}
