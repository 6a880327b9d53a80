package gateway

// readLogprobs returns an engine's probabilities of tokens as clients know them: what
// engines add to a token, such as llama.cpp its number, is left out.
func readLogprobs(v value) value {
	list := member(v, "content")
	if !list.isArray() {
		return v
	}
	return appendLogprobs(nil, appendTokens(nil, list))
}

// appendTokens appends the elements of a list of tokens, and of their alternatives.
func appendTokens(dst []byte, list value) []byte {
	head := true
	for token := range elements(list) {
		dst = append(appendComma(dst, &head), '{')
		first := true
		for name, v := range members(token) {
			switch string(name) {
			case "token", "logprob", "bytes":
				dst = append(appendString(appendComma(dst, &first), string(name)), ':')
				dst = append(dst, v...)
			case "top_logprobs":
				dst = append(appendComma(dst, &first), `"top_logprobs":[`...)
				dst = append(appendTokens(dst, v), ']')
			}
		}
		dst = append(dst, '}')
	}
	return dst
}
