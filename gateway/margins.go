package gateway

import "bytes"

// margins takes off the space that engines leave around reasoning and before the answer
// that follows it: vLLM passes on what the model wrote there, line breaks mostly,
// llama.cpp does not (design 5). An answer without reasoning stays as it is.
type margins []margin

// margin is how far one answer of a call has come.
type margin struct {
	index     int64
	reasoning bool   // something of it was passed on
	content   bool   // and of what follows
	held      []byte // space, escaped as in JSON, that ends the reasoning unless more of it comes
}

// trim changes the parts of r, which stand in a buffer of ours, and drops those that
// nothing is left of.
func (m *margins) trim(r *reply) {
	kept := r.parts[:0]
	for i := range r.parts {
		p := &r.parts[i]
		said := p.text()
		m.trimPart(p)
		if said && !p.text() && p.finish == nil && p.logprobs == nil {
			continue
		}
		kept = append(kept, *p)
	}
	r.parts = kept
}

func (m *margins) trimPart(p *part) {
	at := m.of(p.index)
	if at == nil {
		if len(p.reasoning) <= len(`""`) {
			return // it does not reason, or not yet
		}
		*m = append(*m, margin{index: p.index})
		at = m.of(p.index)
	}
	if p.reasoning != nil {
		p.reasoning = at.trimReasoning(p.reasoning)
	}
	if p.content != nil && !at.content {
		p.content = withoutLeadingSpace(p.content)
		at.content = len(p.content) > len(`""`)
	}
}

func (m *margins) of(index int64) *margin {
	for i := range *m {
		if (*m)[i].index == index {
			return &(*m)[i]
		}
	}
	return nil
}

// trimReasoning returns what is to be passed on now, nil for nothing.
func (at *margin) trimReasoning(v value) value {
	if !at.reasoning {
		v = withoutLeadingSpace(v)
	}
	end := endOfText(v.inner())
	space := bytes.Clone(v.inner()[end:])
	if end == 0 {
		if at.reasoning {
			at.held = append(at.held, space...)
		}
		return nil
	}
	v = append(v[:1+end], '"') // where the space was, or the quote is
	if len(at.held) > 0 {
		v = append(append([]byte{'"'}, at.held...), v[1:]...)
	}
	at.reasoning, at.held = true, append(at.held[:0], space...)
	return v
}

// withoutLeadingSpace returns the end of a string.
func withoutLeadingSpace(v value) value {
	inner, i := v.inner(), 0
	for width := spaceAt(inner, i); width > 0; width = spaceAt(inner, i) {
		i += width
	}
	if i > 0 {
		v = v[i:]
		v[0] = '"'
	}
	return v
}

// endOfText returns where the space at the end of a string's inner part begins.
func endOfText(inner []byte) int {
	end := 0
	for i := 0; i < len(inner); {
		if width := spaceAt(inner, i); width > 0 {
			i += width
			continue
		}
		if inner[i] == '\\' { // what follows belongs to it
			i++
		}
		i++
		end = i
	}
	return end
}

// spaceAt returns the length of the space that stands at i, 0 for none.
func spaceAt(inner []byte, i int) int {
	switch {
	case i < len(inner) && inner[i] == ' ':
		return 1
	case i+1 < len(inner) && inner[i] == '\\' && (inner[i+1] == 'n' || inner[i+1] == 'r' || inner[i+1] == 't'):
		return 2
	}
	return 0
}
