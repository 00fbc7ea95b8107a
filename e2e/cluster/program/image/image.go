// Package image writes and reads archives of container images, without a
// registry and without a container engine.
//
// `image write` makes a one-layer archive from files (write.go). `image list`
// and `image stream` tell containerd's importer what it needs to know of an
// archive that somebody else made (archive.go).
package image

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

const usage = `usage:
  image write --tag REF --out TAR [--entrypoint WORDS] [--cmd WORDS] ITEM...
        ITEM is SRC:DEST[:MODE], or DEST->TARGET for a symbolic link
  image list TAR      a line "REFERENCE DIGEST" for each image in the archive
  image stream TAR    the archive to standard output, every image named in full`

// Run carries out one of the subcommands.
func Run(args []string) error {
	switch {
	case len(args) > 1 && args[0] == "write":
		return runWrite(args[1:])
	case len(args) == 2 && args[0] == "list":
		return withFile(args[1], func(f *os.File) error {
			images, err := List(f)
			for _, i := range images {
				fmt.Println(i.Reference, i.Digest)
			}
			return err
		})
	case len(args) == 2 && args[0] == "stream":
		return withFile(args[1], func(f *os.File) error { return Stream(os.Stdout, f) })
	}
	return errors.New(usage)
}

func withFile(name string, use func(*os.File) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := use(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func runWrite(args []string) error {
	flags := flag.NewFlagSet("image write", flag.ContinueOnError)
	tag := flags.String("tag", "", "reference of the image")
	out := flags.String("out", "", "archive to write")
	entrypoint := flags.String("entrypoint", "", "entry point, words separated by spaces")
	cmd := flags.String("cmd", "", "arguments to the entry point, words separated by spaces")
	if err := flags.Parse(args); err != nil {
		return err
	}
	spec := Spec{Reference: *tag, Entrypoint: strings.Fields(*entrypoint), Cmd: strings.Fields(*cmd)}
	for _, arg := range flags.Args() {
		item, err := parseItem(arg)
		if err != nil {
			return err
		}
		spec.Items = append(spec.Items, item)
	}
	f, err := os.Create(*out)
	if err != nil {
		return err
	}
	return errors.Join(Write(f, spec), f.Close())
}

// parseItem reads SRC:DEST[:MODE] or DEST->TARGET.
func parseItem(arg string) (Item, error) {
	if dest, target, ok := strings.Cut(arg, "->"); ok {
		return Item{Dest: dest, Link: target}, nil
	}
	parts := strings.Split(arg, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return Item{}, fmt.Errorf("%q is neither SRC:DEST[:MODE] nor DEST->TARGET", arg)
	}
	item := Item{Dest: parts[1], Mode: 0o755}
	if len(parts) == 3 {
		if _, err := fmt.Sscanf(parts[2], "%o", &item.Mode); err != nil {
			return Item{}, fmt.Errorf("mode of %q: %w", arg, err)
		}
	}
	f, err := os.Open(parts[0])
	if err != nil {
		return Item{}, err
	}
	defer f.Close()
	item.Content, err = io.ReadAll(f)
	return item, err
}
