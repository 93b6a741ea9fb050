package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"reflect"
	"strconv"
	"time"
)

// AppendXML appends the answer of a Query operation: XResponse, in it XResult and the request's id.
func AppendXML(dst []byte, service *Service, op *Operation, out any, requestID string) []byte {
	dst = append(dst, '<')
	dst = append(dst, op.Name...)
	dst = append(dst, `Response xmlns="`...)
	dst = append(dst, service.Namespace...)
	dst = append(dst, `">`...)
	if op.Wrapper != "" {
		dst = appendElement(dst, op.Wrapper, op.Output, reflect.ValueOf(out).Elem())
	}
	dst = append(dst, "<ResponseMetadata><RequestId>"...)
	dst = append(dst, requestID...)
	dst = append(dst, "</RequestId></ResponseMetadata></"...)
	dst = append(dst, op.Name...)
	return append(dst, "Response>\n"...)
}

// AppendXMLError appends the error answer of a Query operation.
func AppendXMLError(dst []byte, service *Service, code, message string, sender bool, requestID string) []byte {
	fault := "Receiver"
	if sender {
		fault = "Sender"
	}
	dst = append(dst, `<ErrorResponse xmlns="`...)
	dst = append(dst, service.Namespace...)
	dst = append(dst, `"><Error><Type>`...)
	dst = append(dst, fault...)
	dst = append(dst, "</Type><Code>"...)
	dst = appendText(dst, code)
	dst = append(dst, "</Code><Message>"...)
	dst = appendText(dst, message)
	dst = append(dst, "</Message></Error><RequestId>"...)
	dst = append(dst, requestID...)
	return append(dst, "</RequestId></ErrorResponse>\n"...)
}

func appendElement(dst []byte, name string, s *Shape, v reflect.Value) []byte {
	dst = append(dst, '<')
	dst = append(dst, name...)
	dst = append(dst, '>')
	dst = appendContent(dst, s, v)
	dst = append(dst, '<', '/')
	dst = append(dst, name...)
	return append(dst, '>')
}

func appendContent(dst []byte, s *Shape, v reflect.Value) []byte {
	switch s.Kind {
	case String:
		return appendText(dst, v.String())
	case Boolean:
		return strconv.AppendBool(dst, v.Bool())
	case Integer, Long:
		return strconv.AppendInt(dst, v.Int(), 10)
	case Double:
		return appendFloat(dst, v.Float())
	case Timestamp:
		return v.Interface().(time.Time).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	case Blob:
		return base64.StdEncoding.AppendEncode(dst, v.Bytes())
	case List:
		for i := range v.Len() {
			dst = appendElement(dst, or(s.ElementName, "member"), s.Element, v.Index(i))
		}
	case Map:
		for _, key := range sortedKeys(v) {
			dst = append(dst, "<entry>"...)
			dst = appendElement(dst, or(s.KeyName, "key"), s.Key, reflect.ValueOf(key))
			dst = appendElement(dst, or(s.ValueName, "value"), s.Element, v.MapIndex(reflect.ValueOf(key)))
			dst = append(dst, "</entry>"...)
		}
	case Structure:
		for i := range s.Members {
			m := &s.Members[i]
			if field, ok := present(v.Field(i), m); ok {
				dst = appendElement(dst, m.Wire, m.Shape, field)
			}
		}
	}
	return dst
}

// appendText appends escaped character data; what XML cannot hold becomes U+FFFD.
func appendText(dst []byte, s string) []byte {
	buffer := bytes.NewBuffer(dst)
	// Writing to a bytes.Buffer cannot fail.
	_ = xml.EscapeText(buffer, []byte(s))
	return buffer.Bytes()
}
