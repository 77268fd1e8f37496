package llm

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"cordon/host/config"

	"github.com/go-json-experiment/json"
)

// Place is a program on this computer that serves models, by the port that it usually has.
type Place struct {
	Name string
	Port uint16
}

// Places are those that Find looks at.
var Places = []Place{{"Ollama", 11434}, {"LM Studio", 1234}, {"llama.cpp", 8080}, {"vLLM", 8000}, {"Jan", 1337}, {"GPT4All", 4891}}

// URL is where its models are asked.
func (p Place) URL() string { return fmt.Sprintf("http://127.0.0.1:%d/v1/", p.Port) }

// Found is a model that a program on this computer offers.
type Found struct {
	Place string `json:"place"` // whose port it is; what answers there says no name of its own
	URL   string `json:"url"`
	Model string `json:"model"`
}

const (
	findPatience = time.Second
	maxListing   = 1 << 20 // bytes
	maxFound     = 100     // models of one program
)

// Find asks the usual ports of this computer which models are there. Whoever answers in the form of OpenAI's list of models counts; the names are untrusted, and
// only those that a definition takes are returned.
func Find(ctx context.Context, places []Place) []Found {
	ctx, cancel := context.WithTimeout(ctx, findPatience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var mu sync.Mutex
	var all []Found
	var each sync.WaitGroup
	for _, p := range places {
		each.Go(func() {
			models := list(ctx, client, p)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, models...)
		})
	}
	each.Wait()
	slices.SortFunc(all, func(a, b Found) int {
		return cmp.Or(strings.Compare(a.Place, b.Place), strings.Compare(a.Model, b.Model))
	})
	return all
}

func list(ctx context.Context, client *http.Client, p Place) (all []Found) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"models", nil)
	if err != nil {
		return nil
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var says struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if resp.StatusCode != http.StatusOK || json.UnmarshalRead(io.LimitReader(resp.Body, maxListing), &says) != nil {
		return nil
	}
	for _, m := range says.Data {
		def := config.Model{Name: "found", Kind: config.ModelOpenAI, URL: p.URL(), Model: m.ID}
		if len(all) < maxFound && def.Validate() == nil {
			all = append(all, Found{Place: p.Name, URL: def.URL, Model: def.Model})
		}
	}
	return all
}

// Cost is what an answer cost in dollars, and whether that is known. What was read from the cache costs as little as its price says, what was written to it as
// much as all else that was read.
func Cost(u Usage, p config.Price) (float64, bool) {
	if p == (config.Price{}) {
		return 0, false
	}
	const million = 1e6
	return (float64(u.Input-u.Cached)*p.Input + float64(u.Cached)*p.Cached + float64(u.Output)*p.Output) / million, true
}
