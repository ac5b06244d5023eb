// Checks a running node's log with Go's golang.org/x/mod/sumdb, which knows nothing of Birthmark.
//
// usage: sumdb URL LOG_VKEY OLDER_CHECKPOINT
//
// The checkpoint's signature, the tree's root out of its tiles, inclusion of every leaf, and that the log extends
// the older checkpoint.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type tiles struct{ url string }

func (tiles) Height() int { return height }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		// C2SP has no height in its paths.
		path := strings.Replace(tile.Path(), "tile/8/", "/tile/", 1)
		all = append(all, get(t.url+path))
	}
	return all, nil
}

func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func get(url string) []byte {
	answer, err := http.Get(url)
	must(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s", url, answer.Status)
	}
	body, err := io.ReadAll(answer.Body)
	must(err)
	return body
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// The tree of a checkpoint that the log has signed.
func checked(text []byte, verifier note.Verifier) tlog.Tree {
	signed, err := note.Open(text, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		log.Fatalf("not a checkpoint of three lines: %q", signed.Text)
	}
	var tree tlog.Tree
	_, err = fmt.Sscan(lines[1], &tree.N)
	must(err)
	tree.Hash, err = tlog.ParseHash(lines[2])
	must(err)
	return tree
}

func main() {
	url := os.Args[1]
	verifier, err := note.NewVerifier(os.Args[2])
	must(err)
	older, err := os.ReadFile(os.Args[3])
	must(err)
	head, before := checked(get(url+"/checkpoint"), verifier), checked(older, verifier)
	reader := tlog.TileHashReader(head, tiles{url})
	root, err := tlog.TreeHash(head.N, reader)
	must(err)
	if root != head.Hash {
		log.Fatal("the tiles give another root")
	}
	var index int64
	for first := int64(0); first < head.N; first += 256 {
		path := fmt.Sprintf("/tile/entries/%03d", first/256)
		if width := head.N - first; width < 256 {
			path += fmt.Sprintf(".p/%d", width)
		}
		for bundle := get(url + path); len(bundle) > 0; index++ {
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			leaf := bundle[2:end]
			bundle = bundle[end:]
			proof, err := tlog.ProveRecord(head.N, index, reader)
			must(err)
			must(tlog.CheckRecord(proof, head.N, head.Hash, index, tlog.RecordHash(leaf)))
		}
	}
	if index != head.N {
		log.Fatalf("%d leaves of %d", index, head.N)
	}
	proof, err := tlog.ProveTree(head.N, before.N, reader)
	must(err)
	must(tlog.CheckTree(proof, head.N, head.Hash, before.N, before.Hash))
	if tlog.CheckTree(proof, head.N, head.Hash, before.N, tlog.Hash{}) == nil {
		log.Fatal("a wrong older root passes")
	}
	fmt.Printf("sumdb/tlog: %d leaves, consistent since %d\n", head.N, before.N)
}
