package sanitizer

import (
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// arguments are the logged arguments of one call, by parameter name.
type arguments struct {
	call *proto.Call
	sig  *fidump.Signature
	list []argument
}

// argument is one argument: a tensor, a value, or a container of some.
type argument struct {
	name       string // the parameter; "*3" where a position has no name
	positional int    // position, self included; -1: passed by keyword
	tensor     *proto.Tensor
	value      *proto.Value
	members    []*proto.Tensor // tensors of a tuple, list or dict, in order
}

// readArguments names each logged key after the parameter it was passed to.
func readArguments(call *proto.Call) *arguments {
	a := &arguments{call: call, sig: signatures.get(call.Signature, func() *fidump.Signature { return fidump.ParseSignature(call.Signature) })}
	a.list = make([]argument, 0, len(call.Tensors)+len(call.Values))
	for i := range call.Tensors {
		t := &call.Tensors[i]
		if arg, member := a.at(t.Key); arg == nil {
			continue
		} else if member {
			arg.members = append(arg.members, t)
		} else {
			arg.tensor = t
		}
	}
	for i := range call.Values {
		v := &call.Values[i]
		if arg, member := a.at(v.Key); arg != nil && !member {
			arg.value = v
		}
	}
	return a
}

// at gives the argument a key belongs to, made on first sight, and whether the key is of a member of a container.
func (a *arguments) at(key string) (arg *argument, member bool) {
	var name string
	position := -1
	if rest, ok := strings.CutPrefix(key, "kwarg_"); ok {
		name = rest
		if i := strings.Index(rest, "__"); i > 0 {
			if _, known := a.sig.Find(rest); !known {
				name, member = rest[:i], true
			}
		}
	} else if rest, ok := strings.CutPrefix(key, "arg_"); ok {
		if i := strings.Index(rest, "__"); i > 0 {
			rest, member = rest[:i], true
		}
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return nil, false
		}
		name, position = a.parameter(n), n
	} else {
		return nil, false
	}
	for i := range a.list {
		if a.list[i].name == name {
			return &a.list[i], member
		}
	}
	a.list = append(a.list, argument{name: name, positional: position})
	return &a.list[len(a.list)-1], member
}

// parameter names the parameter at a position. Position 0 of a method is self, whether its signature says so or not.
func (a *arguments) parameter(position int) string {
	if strings.Contains(a.call.Function, ".") && len(a.sig.Positional) > 0 && a.sig.Positional[0].Name != "self" {
		position--
	}
	if len(a.sig.Positional) == 0 {
		if names := wrapperPositions[fitrace.BaseFunction(a.call.Function)]; position >= 0 && position < len(names) {
			return names[position]
		}
	}
	if position < 0 {
		return "self"
	}
	if position < len(a.sig.Positional) {
		return a.sig.Positional[position].Name
	}
	if extra := position - len(a.sig.Positional); a.sig.VarArgs {
		names, ok := legacyPositions[a.call.Function]
		if !ok {
			names = legacyPositions[fitrace.BaseFunction(a.call.Function)]
		}
		if extra < len(names) {
			return names[extra]
		}
	}
	return "*" + strconv.Itoa(position)
}

// find returns the argument passed for a parameter, or nil. A logged None is as good as nothing passed.
func (a *arguments) find(name string) *argument {
	if a == nil {
		return nil
	}
	for i := range a.list {
		arg := &a.list[i]
		if arg.name == name && (arg.value == nil || arg.value.Type != proto.ValueNone) {
			return arg
		}
	}
	return nil
}

// integer gives an integer argument.
func (a *arguments) integer(name string) (int64, bool) {
	if arg := a.find(name); arg != nil && arg.value != nil && arg.value.Type == proto.ValueInt {
		return arg.value.Int, true
	}
	return 0, false
}

// boolean gives a bool argument that was passed.
func (a *arguments) boolean(name string) (value, passed bool) {
	if arg := a.find(name); arg != nil && arg.value != nil && arg.value.Type == proto.ValueBool {
		return arg.value.Bool, true
	}
	return false, false
}

// origin names an argument in messages: "plan's indptr". Most are never shown, so the text is made when it is.
type origin struct {
	args *arguments
	name string
}

// describe gives the origin of an argument.
func (a *arguments) describe(name string) origin { return origin{a, name} }

// String implements fmt.Stringer.
func (o origin) String() string {
	if o.args == nil {
		return o.name
	}
	verb := o.args.call.Function
	if i := strings.LastIndexByte(verb, '.'); i >= 0 {
		verb = verb[i+1:]
	}
	return verb + "'s " + o.name
}
