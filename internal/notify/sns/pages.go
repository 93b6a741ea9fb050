package sns

import (
	"errors"
	"html/template"
	"net/http"
	"strings"

	"vedette.dev/vedette/internal/store"
)

// The paths of the pages that mails link to.
const (
	pathConfirm     = "/confirmation.html"
	pathUnsubscribe = "/unsubscribe.html"
)

// Pages returns the handler of what needs no signature: the pages that mails link to, and the certificate that signatures
// are checked with. Everything else is answered with 404.
//
// Following the link of a confirmation mail confirms, as on AWS. Following the link to unsubscribe only asks: scanners of
// mail follow links too. The button on that page, and mail readers by RFC 8058, unsubscribe with a POST.
func (s *Service) Pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathConfirm, s.confirmPage)
	mux.HandleFunc("GET "+pathUnsubscribe, s.unsubscribePage)
	mux.HandleFunc("POST "+pathUnsubscribe, s.unsubscribePost)
	mux.HandleFunc("GET "+s.signer.path(), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		w.Write(s.signer.pem)
	})
	return mux
}

func (s *Service) confirmPage(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // a look at the link is no consent
		show(w, http.StatusOK, answer{})
		return
	}
	q := r.URL.Query()
	sub, err := s.ConfirmToken(r.Context(), q.Get("TopicArn"), q.Get("Token"), false, false)
	if err != nil {
		s.failed(w, err, "This link does not confirm a subscription", "It may be older than three days, or the subscription may be gone. Ask for the subscription once more to get a new link.")
		return
	}
	show(w, http.StatusOK, answer{Title: "Subscription confirmed!", Text: "You have successfully subscribed " + sub.Endpoint + " to the topic " + sub.TopicARN + ". Your subscription's id is:", ARN: sub.ARN,
		More: "If it was not your intention to subscribe:", Link: strings.TrimPrefix(pathUnsubscribe, "/") + "?" + strings.TrimPrefix(unsubscribeQuery(sub.ARN), "Action=Unsubscribe&"), Label: "unsubscribe"})
}

func (s *Service) unsubscribePage(w http.ResponseWriter, r *http.Request) {
	sub, err := s.lookUp(r)
	if err != nil {
		s.failed(w, err, "There is no such subscription", "It may have ended already.")
		return
	}
	show(w, http.StatusOK, answer{Title: "Unsubscribe?", Text: sub.Endpoint + " will get no more notifications of the topic " + sub.TopicARN + ".", ARN: sub.ARN, Button: "Unsubscribe"})
}

func (s *Service) unsubscribePost(w http.ResponseWriter, r *http.Request) {
	if _, err := s.lookUp(r); err != nil { // without the writer, which anybody could keep busy
		s.failed(w, err, "There is no such subscription", "It may have ended already.")
		return
	}
	err := s.o.Store.Update(r.Context(), func(tx *store.Tx) error { return s.Unsubscribe(tx, r.URL.Query().Get("SubscriptionArn"), false) })
	if err != nil {
		s.failed(w, err, "The subscription was not ended", "It can only be ended by those who run this server.")
		return
	}
	show(w, http.StatusOK, answer{Title: "Unsubscribed", Text: "There will be no more notifications of this subscription:", ARN: r.URL.Query().Get("SubscriptionArn")})
}

func (s *Service) lookUp(r *http.Request) (sub Subscription, err error) {
	err = s.o.Store.View(r.Context(), func(tx *store.Tx) error {
		sub, err = s.Subscription(tx, r.URL.Query().Get("SubscriptionArn"))
		return err
	})
	return sub, err
}

// failed shows a refusal to the reader, and a failure of the server to its log.
func (s *Service) failed(w http.ResponseWriter, err error, title, text string) {
	var e *Error
	if errors.As(err, &e) {
		show(w, e.Status, answer{Title: title, Text: text})
		return
	}
	s.o.Log.Error("answering a page", "err", err)
	show(w, http.StatusInternalServerError, answer{Title: "Something went wrong", Text: "Please try again in a while."})
}

// answer is what a page shows.
type answer struct{ Title, Text, ARN, Button, More, Link, Label string }

func show(w http.ResponseWriter, status int, a answer) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address holds the token
	h.Set("X-Robots-Tag", "noindex")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	pageHTML.Execute(w, a)
}

var pageHTML = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Title}}</title></head>
<body style="margin:48px auto;max-width:640px;padding:0 16px;font:16px/1.5 system-ui,sans-serif;color:#1a1a1a">
<h1 style="font-size:22px">{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .ARN}}<p><code style="word-break:break-all">{{.}}</code></p>
{{end}}{{with .Button}}<form method="post"><button style="font:inherit;padding:6px 16px">{{.}}</button></form>
{{end}}{{with .More}}<p>{{.}} <a href="{{$.Link}}">{{$.Label}}</a>.</p>
{{end}}</body></html>
`))
