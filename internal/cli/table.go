package cli

import (
	"encoding/json"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table writes header and rows in plain columns, cells that look like numbers to the right. With no rows it writes nothing.
func Table(w io.Writer, header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleLight
	style.Options = table.Options{SeparateColumns: true}
	style.Box.PaddingLeft, style.Box.PaddingRight, style.Box.MiddleVertical = "", "  ", ""
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(cells(header))
	var right []table.ColumnConfig
	for col := range header {
		if numeric(rows, col) {
			right = append(right, table.ColumnConfig{Number: col + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.SetColumnConfigs(right)
	for _, row := range rows {
		t.AppendRow(cells(row))
	}
	t.SuppressTrailingSpaces()
	t.Render()
}

func cells(row []string) table.Row {
	out := make(table.Row, len(row))
	for i, c := range row {
		out[i] = c
	}
	return out
}

// numeric reports whether every filled cell of a column starts with a digit.
func numeric(rows [][]string, col int) bool {
	seen := false
	for _, row := range rows {
		if col >= len(row) || row[col] == "" || row[col] == "-" {
			continue
		}
		if c := row[col][0]; c < '0' || c > '9' {
			return false
		}
		seen = true
	}
	return seen
}

// JSONLine writes v as one line, for what prints one value after another.
func JSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// JSON writes v indented, as every command's --json does.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
