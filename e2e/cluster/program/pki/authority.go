package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is the life of every certificate: longer than any cluster's.
const validity = 365 * 24 * time.Hour

// authority signs certificates and writes them to its directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// subject is whom a certificate is for. With names (DNS names or IP addresses) it
// serves as a server's too; otherwise it is a client's only.
type subject struct {
	commonName   string
	organization []string
	names        []string
}

// keyPair is a certificate and its key, both as PEM.
type keyPair struct{ cert, key []byte }

// newAuthority makes a self-signed authority and writes NAME.crt and NAME.key.
func newAuthority(dir, name string) (*authority, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	pair, cert, err := sign(template, template, key, key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	return &authority{dir, cert, key, pair.cert}, pair.write(dir, name)
}

// issue signs a certificate with a new key and writes FILE.crt and FILE.key.
func (a *authority) issue(file string, s subject) (keyPair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: s.commonName, Organization: s.organization},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(s.names) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, name := range s.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	pair, _, err := sign(template, a.cert, key, a.key)
	if err != nil {
		return keyPair{}, fmt.Errorf("certificate %s: %w", file, err)
	}
	return pair, pair.write(a.dir, file)
}

// sign completes the template; the start lies in the past because clocks differ.
func sign(template, parent *x509.Certificate, key, signer crypto.Signer) (keyPair, *x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return keyPair{}, nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(validity)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return keyPair{}, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return keyPair{}, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return keyPair{}, nil, err
	}
	return keyPair{toPEM("CERTIFICATE", der), toPEM("PRIVATE KEY", keyDER)}, cert, nil
}

func (p keyPair) write(dir, file string) error {
	if err := os.WriteFile(filepath.Join(dir, file+".crt"), p.cert, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file+".key"), p.key, 0o600)
}

func toPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
