package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// hashes of the signature algorithms that are made here. EdDSA hashes by itself.
var hashes = map[string]crypto.Hash{"ES256": crypto.SHA256, "ES384": crypto.SHA384, "ES512": crypto.SHA512,
	"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512, "PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512, "EdDSA": 0}

// parseKey reads a private key: PEM with a PKCS #8 block and nothing around it but space. The error says nothing of what is in it.
func parseKey(text string) (crypto.Signer, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PRIVATE KEY" || len(slices.DeleteFunc(rest, func(b byte) bool { return b == '\n' || b == '\r' || b == ' ' })) > 0 {
		return nil, errors.New("the key is no PEM of the type PRIVATE KEY (PKCS #8)")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the key in the PEM block cannot be read")
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		if key.N.BitLen() < 2048 {
			return nil, fmt.Errorf("the key has %d bits, RSA needs 2048", key.N.BitLen())
		}
		return key, nil
	}
	return nil, errors.New("the key is none of ECDSA, Ed25519 and RSA")
}

// algorithms returns what a key can sign with, the usual one first.
func algorithms(key crypto.Signer) []string {
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		switch key.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	case ed25519.PrivateKey:
		return []string{"EdDSA"}
	case *rsa.PrivateKey:
		return []string{"RS256", "PS256", "RS384", "PS384", "RS512", "PS512"}
	}
	return nil
}

// pick returns the algorithm to sign with: wanted if that is not "", else the first that the other side takes. accepted is nil if it does
// not say.
func pick(key crypto.Signer, wanted string, accepted []string) (string, error) {
	for _, alg := range algorithms(key) {
		if (wanted == "" || alg == wanted) && (accepted == nil || slices.Contains(accepted, alg)) {
			return alg, nil
		}
	}
	if wanted != "" && !slices.Contains(algorithms(key), wanted) {
		return "", fmt.Errorf("the key does not sign with %s", wanted)
	}
	return "", errors.New("the authorization server takes no algorithm that the key signs with")
}

// sign returns a JWT. alg is one of algorithms(key); claims become JSON objects.
func sign(key crypto.Signer, alg string, header, claims map[string]any) (string, error) {
	header["alg"] = alg
	h, err := json.Marshal(header, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	c, err := json.Marshal(claims, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	text := base64url(h) + "." + base64url(c)
	hash, known := hashes[alg]
	if !known || !slices.Contains(algorithms(key), alg) {
		return "", fmt.Errorf("the key does not sign with %s", alg)
	}
	digest := []byte(text)
	if hash != 0 {
		w := hash.New()
		w.Write(digest)
		digest = w.Sum(nil)
	}
	var signature []byte
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			return "", err
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		signature = make([]byte, 2*size)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
	default:
		var opts crypto.SignerOpts = hash
		if alg[0] == 'P' {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
		if signature, err = key.Sign(rand.Reader, digest, opts); err != nil {
			return "", err
		}
	}
	return text + "." + base64url(signature), nil
}

// claimsOf returns the claims of a JWT, whose signature is not looked at. Use it only on one that is one's own, or to compare.
func claimsOf(jwt string, v any) error {
	part := strings.Split(jwt, ".")
	if len(part) != 3 {
		return errors.New("it is no JWT")
	}
	body, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		return errors.New("it is no JWT")
	}
	return json.Unmarshal(body, v)
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// random returns n random bytes as text.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return base64url(b)
}

// s256 is the digest of RFC 7636 and RFC 9449.
func s256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64url(sum[:])
}
