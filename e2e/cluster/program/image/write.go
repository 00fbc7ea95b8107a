package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"
)

// Spec is an image of one layer.
type Spec struct {
	Reference       string
	Entrypoint, Cmd []string
	Items           []Item
}

// Item is a file or, with a Link, a symbolic link.
type Item struct {
	Dest    string // absolute path in the image
	Mode    int64
	Content []byte
	Link    string
}

// Write writes the image as `docker save` would. Equal specs give equal bytes:
// nothing in it depends on the clock or on who owns the files.
func Write(w io.Writer, s Spec) error {
	if s.Reference == "" || len(s.Items) == 0 {
		return errors.New("an image needs a reference and at least one item")
	}
	layer, err := layer(s.Items)
	if err != nil {
		return err
	}
	config, err := json.Marshal(config(s, layer))
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest, err := json.Marshal([]dockerManifest{{configName, []string{s.Reference}, []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, file := range []struct {
		name    string
		content []byte
	}{{"manifest.json", manifest}, {configName, config}, {"layer.tar", layer}} {
		if err := writeFile(out, file.name, 0o644, file.content); err != nil {
			return err
		}
	}
	return out.Close()
}

func config(s Spec, layer []byte) map[string]any {
	return map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			"Entrypoint": s.Entrypoint, "Cmd": s.Cmd, "WorkingDir": "/",
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	}
}

// layer is the tar of the items, their parent directories, and an empty /tmp.
func layer(items []Item) ([]byte, error) {
	var buffer bytes.Buffer
	out := tar.NewWriter(&buffer)
	made := map[string]bool{".": true, "/": true}
	if err := writeDir(out, "tmp", made); err != nil {
		return nil, err
	}
	for _, item := range items {
		name := strings.TrimPrefix(path.Clean(item.Dest), "/")
		if err := writeDir(out, path.Dir(name), made); err != nil {
			return nil, err
		}
		var err error
		if item.Link != "" {
			err = out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: item.Link, Mode: 0o777})
		} else {
			err = writeFile(out, name, item.Mode, item.Content)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", item.Dest, err)
		}
	}
	err := out.Close()
	return buffer.Bytes(), err
}

// writeDir writes a directory after its parents, each once.
func writeDir(out *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := writeDir(out, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	mode := int64(0o755)
	if dir == "tmp" {
		mode = 0o1777
	}
	return out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode})
}

func writeFile(out *tar.Writer, name string, mode int64, content []byte) error {
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := out.Write(content)
	return err
}
