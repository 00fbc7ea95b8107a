package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var small = Spec{
	Reference: "meridian.local/odd:7", Entrypoint: []string{"/bin/odd"}, Cmd: []string{"-v"},
	Items: []Item{
		{Dest: "/usr/lib/x/a.so", Mode: 0o644, Content: []byte("library")},
		{Dest: "/usr/lib/x/b.so", Mode: 0o755, Content: []byte("other")},
		{Dest: "/bin/odd", Link: "/usr/lib/x/b.so"},
	},
}

func written(t *testing.T, s Spec) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, s); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// archive makes a tar of name, content, name, content...
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		if err := writeFile(w, files[i], 0o644, []byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// contents reads a tar; directories end in "/", links in "-> TARGET".
func contents(t *testing.T, data []byte) (names []string, files map[string]string) {
	t.Helper()
	files = map[string]string{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, files
		}
		if err != nil {
			t.Fatal(err)
		}
		name := h.Name
		if h.Linkname != "" {
			name += "-> " + h.Linkname
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names, files[h.Name] = append(names, name), string(content)
	}
}

func TestEqualSpecsGiveEqualBytes(t *testing.T) {
	if !bytes.Equal(written(t, small), written(t, small)) {
		t.Error("two runs differ")
	}
}

func TestALayerHasEachDirectoryOnceAndBeforeItsFiles(t *testing.T) {
	_, files := contents(t, written(t, small))
	got, layer := contents(t, []byte(files["layer.tar"]))
	want := []string{"tmp/", "usr/", "usr/lib/", "usr/lib/x/", "usr/lib/x/a.so", "usr/lib/x/b.so", "bin/", "bin/odd-> /usr/lib/x/b.so"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if layer["usr/lib/x/a.so"] != "library" {
		t.Errorf("a.so holds %q", layer["usr/lib/x/a.so"])
	}
}

func TestAnImageWithoutANameIsRefused(t *testing.T) {
	if err := Write(io.Discard, Spec{Items: small.Items}); err == nil {
		t.Error("want an error")
	}
}

func TestListReadsWhatWriteWrote(t *testing.T) {
	images, err := List(bytes.NewReader(written(t, small)))
	if err != nil {
		t.Fatal(err)
	}
	changed := small
	changed.Items = slices.Clone(small.Items)
	changed.Items[0].Content = []byte("another library")
	others, err := List(bytes.NewReader(written(t, changed)))
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != 1 || images[0].Reference != "meridian.local/odd:7" || !strings.HasPrefix(images[0].Digest, "sha256:") {
		t.Errorf("got %v", images)
	}
	if images[0].Digest == others[0].Digest {
		t.Error("other content has the same digest: a load of it would be skipped")
	}
}

const index = `{"schemaVersion":2,"manifests":[
  {"digest":"sha256:11","size":5,"annotations":{"org.opencontainers.image.ref.name":"odd:7"}},
  {"digest":"sha256:22","size":6,"annotations":{"io.containerd.image.name":"meridian.local/even:8","org.opencontainers.image.ref.name":"8"}}]}`

func TestAnOCIArchiveIsReadByItsIndexAndNamesAreGivenInFull(t *testing.T) {
	data := archive(t, "oci-layout", "{}", "index.json", index, "manifest.json", `[{"Config":"blobs/sha256/33","RepoTags":["ignored:1"]}]`)
	got, err := List(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	want := []Named{{"docker.io/library/odd:7", "sha256:11"}, {"meridian.local/even:8", "sha256:22"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStreamNamesTheImagesAndLeavesTheRestAlone(t *testing.T) {
	data := archive(t, "blobs/sha256/aa", "layer", "index.json", index)
	var out bytes.Buffer
	if err := Stream(&out, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	names, files := contents(t, out.Bytes())
	if want := []string{"blobs/sha256/aa", "index.json"}; !slices.Equal(names, want) || files["blobs/sha256/aa"] != "layer" {
		t.Errorf("got %q", files)
	}
	for _, want := range []string{`"io.containerd.image.name":"docker.io/library/odd:7"`, `"io.containerd.image.name":"meridian.local/even:8"`, `"size":6`} {
		if !strings.Contains(files["index.json"], want) {
			t.Errorf("index.json lacks %s: %s", want, files["index.json"])
		}
	}
}

func TestWhatIsNoArchiveOfImagesIsRefused(t *testing.T) {
	for name, data := range map[string][]byte{
		"not a tar":        []byte(strings.Repeat("no tar ", 200)),
		"no index":         archive(t, "readme", "hello"),
		"nothing has name": archive(t, "manifest.json", `[{"Config":"aa.json","RepoTags":null}]`),
	} {
		if images, err := List(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: got %v, want an error", name, images)
		}
	}
}

func TestItemsOnTheCommandLine(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	if err := os.WriteFile(src, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]Item{
		src + ":/etc/odd:640": {Dest: "/etc/odd", Mode: 0o640, Content: []byte("x")},
		src + ":/bin/odd":     {Dest: "/bin/odd", Mode: 0o755, Content: []byte("x")},
		"/bin/sh->busybox":    {Dest: "/bin/sh", Link: "busybox"},
	} {
		got, err := parseItem(arg)
		if err != nil || got.Dest != want.Dest || got.Mode != want.Mode || got.Link != want.Link || !bytes.Equal(got.Content, want.Content) {
			t.Errorf("%s: got %+v, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"alone", src + ":/a:9z9", filepath.Join(src, "missing") + ":/a"} {
		if _, err := parseItem(arg); err == nil {
			t.Errorf("%s: want an error", arg)
		}
	}
}
