package sns

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	"vedette.dev/vedette/internal/store"
)

// signingKey is how the key is stored. The store's file is readable by its owner only.
type signingKey struct {
	Key         []byte `json:"key"`         // PKCS #8
	Certificate []byte `json:"certificate"` // DER
}

const signingKeys store.Documents[signingKey] = "signing-key"

// signer signs notifications as SNS does.
type signer struct {
	key *rsa.PrivateKey
	pem []byte // the certificate
	id  string // names the certificate in its URL
}

// openSigner returns the signer of a store, which gets a new key and a certificate for host if it has none.
func openSigner(ctx context.Context, db *store.DB, host string) (*signer, error) {
	const name = "sns"
	var stored signingKey
	var found bool
	if err := db.View(ctx, func(tx *store.Tx) (err error) { stored, found, err = signingKeys.Get(tx, name); return err }); err != nil {
		return nil, err
	}
	if !found {
		made, err := newSigningKey(host)
		if err != nil {
			return nil, err
		}
		if err := db.Update(ctx, func(tx *store.Tx) (err error) {
			if stored, found, err = signingKeys.Get(tx, name); err != nil || found {
				return err
			}
			stored = made
			return signingKeys.Put(tx, name, made)
		}); err != nil {
			return nil, err
		}
	}
	parsed, err := x509.ParsePKCS8PrivateKey(stored.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the stored key is no RSA key")
	}
	sum := sha256.Sum256(stored.Certificate)
	return &signer{key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stored.Certificate}), id: hex.EncodeToString(sum[:16])}, nil
}

func newSigningKey(host string) (signingKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return signingKey{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return signingKey{}, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: host, Organization: []string{"Vedette"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return signingKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return signingKey{}, err
	}
	return signingKey{der, certificate}, nil
}

// sign returns the signature of text: version "1" is with SHA-1, "2" with SHA-256.
func (s *signer) sign(version, text string) (string, error) {
	var digest []byte
	hash := crypto.SHA1
	if version == "2" {
		sum := sha256.Sum256([]byte(text))
		digest, hash = sum[:], crypto.SHA256
	} else {
		sum := sha1.Sum([]byte(text))
		digest = sum[:]
	}
	signature, err := rsa.SignPKCS1v15(nil, s.key, hash, digest)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// member is one member of a JSON object whose order matters.
type member struct {
	name  string
	value any
}

// document is the JSON that subscribers get, with SNS's members in SNS's order and spacing, signed.
func (s *Service) document(t *Topic, sub *Subscription, d *delivery) ([]byte, error) {
	timestamp := d.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z")
	version := s.topicAttribute(t, "SignatureVersion")
	members := []member{{"Type", d.Kind}, {"MessageId", d.MessageID}}
	signed := map[string]string{"Type": d.Kind, "MessageId": d.MessageID, "TopicArn": t.ARN, "Message": d.Message, "Timestamp": timestamp}
	if d.Token != "" {
		members = append(members, member{"Token", d.Token})
		signed["Token"] = d.Token
	}
	members = append(members, member{"TopicArn", t.ARN})
	if d.Subject != "" {
		members = append(members, member{"Subject", d.Subject})
		signed["Subject"] = d.Subject
	}
	members = append(members, member{"Message", d.Message})
	if d.Token != "" {
		subscribe := s.o.PublicURL + "/?" + confirmQuery(t.ARN, d.Token)
		members = append(members, member{"SubscribeURL", subscribe})
		signed["SubscribeURL"] = subscribe
	}
	var names []string
	for name := range signed {
		names = append(names, name)
	}
	slices.Sort(names)
	var text strings.Builder
	for _, name := range names {
		text.WriteString(name + "\n" + signed[name] + "\n")
	}
	signature, err := s.signer.sign(version, text.String())
	if err != nil {
		return nil, fmt.Errorf("signing a notification: %w", err)
	}
	members = append(members, member{"Timestamp", timestamp}, member{"SignatureVersion", version}, member{"Signature", signature},
		member{"SigningCertURL", s.o.PublicURL + s.signer.path()})
	if d.Kind == kindNotification {
		members = append(members, member{"UnsubscribeURL", s.o.PublicURL + "/?" + unsubscribeQuery(sub.ARN)})
		if len(d.Attributes) > 0 {
			members = append(members, member{"MessageAttributes", d.Attributes})
		}
	}
	var b bytes.Buffer
	b.WriteString("{\n")
	for i, m := range members {
		value, err := encode(m.value)
		if err != nil {
			return nil, fmt.Errorf("encoding a notification: %w", err)
		}
		if _, nested := m.value.(map[string]Attribute); nested {
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, value, "  ", "  "); err == nil {
				value = pretty.Bytes()
			}
		}
		fmt.Fprintf(&b, "  %q : %s", m.name, value)
		if i < len(members)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("}")
	return b.Bytes(), nil
}

// path is where the certificate is served.
func (s *signer) path() string { return "/SimpleNotificationService-" + s.id + ".pem" }

// The queries that confirm and unsubscribe, with the action first as in SNS's own links.
func confirmQuery(topicARN, token string) string {
	return "Action=ConfirmSubscription&TopicArn=" + url.QueryEscape(topicARN) + "&Token=" + url.QueryEscape(token)
}

func unsubscribeQuery(arn string) string {
	return "Action=Unsubscribe&SubscriptionArn=" + url.QueryEscape(arn)
}
