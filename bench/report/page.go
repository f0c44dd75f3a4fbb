package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed performance.md.tmpl
var pageText string

// The page's file, and the folder of its plots beside it.
const (
	pageName  = "performance.md"
	plotsName = "performance"
)

// Page returns the files of the page on performance, by their slash-separated
// paths below the folder of documents: the text, which links to the report at
// source, and the plots.
func (r *Report) Page(source string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, g := range r.Groups() {
		if plot := r.Plot(g); plot != nil {
			files[plotPath(g)] = plot
		}
	}
	t, err := template.New(pageName).Funcs(template.FuncMap{
		"table":   markdown,
		"number":  number,
		"factor":  factor,
		"oneline": oneLine,
		"count":   count,
		"about":   about,
		"sized":   sized,
		// repository turns the link of a page in docs/ into a path from the
		// repository's root.
		"repository": func(link string) string { return strings.TrimPrefix(link, "../") },
		"plot": func(g Group) string {
			if files[plotPath(g)] == nil {
				return ""
			}
			return plotPath(g)
		},
	}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	var page bytes.Buffer
	if err := t.Execute(&page, struct {
		*Report
		Source, Headline string
		Wide             float64
		Contenders       map[string]bool
	}{r, source, r.headline(), wideUncertainty * 100, r.contenders()}); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	files[pageName] = page.Bytes()
	return files, nil
}

// sized says how large the tables of a contender are, if its name does.
func sized(f *Figure, contender string) string {
	_, size, ok := strings.Cut(contender, "/")
	if !ok {
		return ""
	}
	return size + " " + f.counted()
}

func plotPath(g Group) string { return path.Join(plotsName, g.Name+".svg") }

// contenders are the names of those with at least one figure.
func (r *Report) contenders() map[string]bool {
	out := map[string]bool{}
	for _, f := range r.Figures {
		for _, c := range f.Contenders {
			name, _, _ := strings.Cut(c, "/")
			out[name] = true
		}
	}
	return out
}

// WritePage writes the page made from the report at source into a folder of
// documents, takes away plots that are no longer part of it, and returns what
// it has written.
func WritePage(source, docs string) ([]string, error) {
	r, err := Load(source)
	if err != nil {
		return nil, err
	}
	link, err := linkTo(source, docs)
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	files, err := r.Page(link)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(docs, plotsName), 0o755); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	old, _ := filepath.Glob(filepath.Join(docs, plotsName, "*.svg")) // the pattern is well-formed
	for _, p := range old {
		if files[path.Join(plotsName, filepath.Base(p))] != nil {
			continue
		}
		if err := os.Remove(p); err != nil {
			return nil, fmt.Errorf("page: %w", err)
		}
	}
	var written []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		to := filepath.Join(docs, filepath.FromSlash(name))
		if err := os.WriteFile(to, files[name], 0o644); err != nil {
			return written, fmt.Errorf("page: %w", err)
		}
		written = append(written, to)
	}
	return written, nil
}

// linkTo returns the path of a file as a document in a folder names it.
func linkTo(file, folder string) (string, error) {
	from, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	link, err := filepath.Rel(from, to)
	return filepath.ToSlash(link), err
}
