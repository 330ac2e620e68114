//go:build linux

package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/go-analyze/charts"
)

// plot draws the CPU time per message of each server, for the plain echoes.
func (rep *report) plot() ([]byte, error) {
	servers := rep.servers()
	var names []string
	values := make([][]float64, len(servers))
	for _, w := range rep.works() {
		if w.inflight == 0 || w.deflate || w.tls || w.text {
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
	var colors []charts.Color // more than a theme has
	for hex := range strings.FieldsSeq("#5470c6 #91cc75 #fac858 #8d6e63 #73c0de #3ba272 #fc8452 #ee6666 #ea7ccc #9a60b4 #999999 #c0ca33 #26a69a #333333") {
		colors = append(colors, charts.ParseColor(hex))
	}
	opt.Theme = charts.GetTheme(charts.ThemeLight).WithSeriesColors(colors) // the background stays white in GitHub's dark theme
	opt.ValueAxis[0].Min = charts.Ptr(0.0)
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: 1400, Height: 460})
	if err := p.BarChart(opt); err != nil {
		return nil, err
	}
	return p.Bytes()
}

func inWords(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	if n >= 1<<10 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
