package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/distribution/reference"
)

// Named is an image in an archive.
type Named struct {
	// Reference is in full, with its registry, as the kubelet asks for it.
	Reference string
	// Digest stands for the content: of the manifest in an OCI archive, of the
	// configuration in a docker archive (which covers the layers by their sums).
	Digest string
}

// dockerManifest is an entry of manifest.json in a docker archive.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// ociIndex is the part of an OCI archive's index.json that we read.
type ociIndex struct {
	Manifests []struct {
		Digest      string            `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	} `json:"manifests"`
}

const (
	// fullName is where containerd looks for a reference; refName is where the
	// OCI specification lets tools put one, often a bare tag.
	fullName = "io.containerd.image.name"
	refName  = "org.opencontainers.image.ref.name"

	indexFile    = "index.json"
	manifestFile = "manifest.json"
)

// List tells the images of an archive. One that has both an OCI index and a
// docker manifest (newer `docker save`) is read as OCI, like containerd does.
func List(r io.ReadSeeker) ([]Named, error) {
	files, err := readFiles(r, indexFile, manifestFile)
	if err != nil {
		return nil, err
	}
	var out []Named
	switch {
	case files[indexFile] != nil:
		out, err = listOCI(files[indexFile])
	case files[manifestFile] != nil:
		out, err = listDocker(files[manifestFile])
	default:
		err = errors.New("neither an OCI archive (index.json) nor a docker archive (manifest.json)")
	}
	if err == nil && len(out) == 0 {
		err = errors.New("no image in it has a name; name it when saving, as in `buildah push IMAGE docker-archive:FILE:NAME:TAG`")
	}
	return out, err
}

func listOCI(index []byte) ([]Named, error) {
	var parsed ociIndex
	if err := json.Unmarshal(index, &parsed); err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	var out []Named
	for _, m := range parsed.Manifests {
		name := m.Annotations[fullName]
		if name == "" {
			name = m.Annotations[refName]
		}
		if name == "" {
			continue
		}
		full, err := normalize(name)
		if err != nil {
			return nil, err
		}
		out = append(out, Named{full, m.Digest})
	}
	return out, nil
}

func listDocker(manifest []byte) ([]Named, error) {
	var parsed []dockerManifest
	if err := json.Unmarshal(manifest, &parsed); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	var out []Named
	for _, m := range parsed {
		digest := "sha256:" + strings.TrimSuffix(path.Base(m.Config), ".json")
		for _, tag := range m.RepoTags {
			full, err := normalize(tag)
			if err != nil {
				return nil, err
			}
			out = append(out, Named{full, digest})
		}
	}
	return out, nil
}

func normalize(name string) (string, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	return named.String(), nil
}

// Stream copies an archive and gives each image of an OCI index the full name
// that `ctr images import` goes by: without one, ctr invents a name with a date.
func Stream(w io.Writer, r io.Reader) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return err
		}
		content := io.Reader(in)
		if path.Clean(header.Name) == indexFile {
			index, err := nameInFull(in)
			if err != nil {
				return err
			}
			header.Size, content = int64(len(index)), bytes.NewReader(index)
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(out, content); err != nil {
			return err
		}
	}
}

// nameInFull keeps what it does not know of the index.
func nameInFull(r io.Reader) ([]byte, error) {
	var index map[string]any
	if err := json.NewDecoder(r).Decode(&index); err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	manifests, _ := index["manifests"].([]any)
	for _, m := range manifests {
		manifest, _ := m.(map[string]any)
		annotations, _ := manifest["annotations"].(map[string]any)
		ref, _ := annotations[refName].(string)
		if full, _ := annotations[fullName].(string); full != "" || ref == "" {
			continue
		}
		full, err := normalize(ref)
		if err != nil {
			return nil, err
		}
		annotations[fullName] = full
	}
	return json.Marshal(index)
}

// readFiles reads the named top-level files. Seeking over the layers makes this
// quick on archives of gigabytes.
func readFiles(r io.ReadSeeker, names ...string) (map[string][]byte, error) {
	out := map[string][]byte{}
	in := tar.NewReader(r)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("not a tar archive: %w", err)
		}
		for _, name := range names {
			if path.Clean(header.Name) != name {
				continue
			}
			if out[name], err = io.ReadAll(in); err != nil {
				return nil, err
			}
		}
	}
}
