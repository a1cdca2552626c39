package hubtest

import "html/template"

// markdown renders a pull request's text.
func markdown(text string) template.HTML {
	return template.HTML("<pre>" + template.HTMLEscapeString(text) + "</pre>") //nolint:gosec // escaped
}
