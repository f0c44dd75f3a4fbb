package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// EnvInstance is the environment variable that names the instance.
const EnvInstance = "OVL_INSTANCE"

// maxFile bounds the configuration and the token file, in bytes.
const maxFile = 1 << 20

// Sources are where Load takes values from; each may be left out.
type Sources struct {
	// Getenv reads the environment, as os.Getenv does.
	Getenv func(string) string
	// File is the path of a YAML file with the keys of Config.
	File string
	// Flags sets what the command line said. It comes last and so wins.
	Flags func(*Config)
}

// Load brings the sources together in their order of precedence, fills in
// what depends on the host (its name, the token file's content) and validates
// the result.
func Load(s Sources) (Config, error) {
	c := Default()
	if s.Getenv != nil {
		c.Instance = s.Getenv(EnvInstance)
	}
	if s.File != "" {
		if err := c.readFile(s.File); err != nil {
			return Config{}, err
		}
	}
	if s.Flags != nil {
		s.Flags(&c)
	}
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return Config{}, fmt.Errorf("node name: %w; give one with --name", err)
		}
		c.Name = host
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	if c.TokenFile != "" {
		token, err := readToken(c.TokenFile)
		if err != nil {
			return Config{}, err
		}
		c.Token, c.TokenFile = token, ""
		return c, c.Validate()
	}
	return c, nil
}

// file is Config as the YAML file has it. Its ports hide those of Config so
// that one out of range is refused in the words of parsePort, not in those of
// the decoder.
type file struct {
	*Config
	GossipPort *int `json:"gossipPort"`
	SyncPort   *int `json:"syncPort"`
	VXLANPort  *int `json:"vxlanPort"`
}

func (c *Config) readFile(path string) error {
	b, err := readBounded(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	f := file{Config: c}
	if err := yaml.UnmarshalStrict(b, &f); err != nil {
		return fmt.Errorf("configuration file %s: %s", path, oneLine(err))
	}
	for _, p := range []struct {
		what string
		from *int
		to   *uint16
	}{{"gossip", f.GossipPort, &c.GossipPort}, {"sync", f.SyncPort, &c.SyncPort}, {"VXLAN", f.VXLANPort, &c.VXLANPort}} {
		if p.from == nil {
			continue
		}
		if *p.to, err = parsePort(p.what, strconv.Itoa(*p.from)); err != nil {
			return fmt.Errorf("configuration file %s: %w", path, err)
		}
	}
	return nil
}

func readToken(path string) (string, error) {
	b, err := readBounded(path)
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	token := string(bytes.TrimSpace(b))
	if token == "" {
		return "", fmt.Errorf("token file %s is empty", path)
	}
	return token, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("is a folder")}
	}
	if info.Size() > maxFile {
		return nil, &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("has %d bytes, %d at most", info.Size(), maxFile)}
	}
	return os.ReadFile(path)
}

// oneLine returns err's text with the line breaks that decoders put into it
// taken out, since an error of ovlctl is one line.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
