//go:build linux

package main

import (
	"fmt"
	"math"

	"github.com/go-analyze/charts"
)

// plot draws the CPU time per message of each server, for the plain echoes.
func (rep *report) plot() ([]byte, error) {
	servers := rep.servers()
	var names []string
	values := make([][]float64, len(servers))
	for _, w := range rep.works() {
		if w.inflight == 0 || w.deflate || w.tls {
			continue
		}
		names = append(names, fmt.Sprintf("%s × %d", inWords(w.size), w.inflight))
		for i, server := range servers {
			x := rep.ratio(w.name, server, w.shows[0]).median
			if math.IsNaN(x) || math.IsInf(x, 0) {
				x = charts.GetNullValue()
			}
			values[i] = append(values[i], x)
		}
	}
	if names == nil {
		return nil, fmt.Errorf("nothing to plot: no echo was measured")
	}
	opt := charts.NewBarChartOptionWithData(values)
	opt.Title.Text = fmt.Sprintf("Server CPU time per message echoed, in relation to %s (size × messages in flight; less is better)", reference)
	opt.CategoryAxis.Labels = names
	opt.Legend.SeriesNames = servers
	opt.Legend.Offset = charts.OffsetStr{Top: "30"}
	opt.Theme = charts.GetTheme(charts.ThemeLight) // its background is white, in GitHub's dark theme too
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: 1100, Height: 460})
	if err := p.BarChart(opt); err != nil {
		return nil, err
	}
	return p.Bytes()
}

func inWords(n int) string {
	if n >= 1<<10 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
