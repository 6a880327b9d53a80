package imports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	berth "github.com/berthhq/berth"
)

// S3Config says where a bucket is and who reads it.
type S3Config struct {
	Bucket   string
	Root     string // folder of the bucket that is the store's root; "" for the whole
	Endpoint string // such as https://s3.example.com; "": Amazon's
	Region   string // "": asked from the store
	// AccessKey and SecretKey, else CredentialsFile (of the AWS form, profile default),
	// else the usual variables of the environment, else the usual file.
	AccessKey, SecretKey string
	CredentialsFile      string
	// HTTP reaches the store; nil is http.DefaultTransport.
	HTTP http.RoundTripper
}

// s3Store is a bucket of any store that speaks S3.
type s3Store struct {
	core   minio.Core
	bucket string
	root   string // "" or ends with /
}

// NewS3Store returns the store of a bucket. Nothing is asked of it yet.
func NewS3Store(c S3Config) (Store, error) {
	endpoint, err := url.Parse(c.Endpoint)
	if err != nil || c.Endpoint != "" && endpoint.Host == "" {
		return nil, fmt.Errorf("the endpoint must be an address such as https://s3.example.com")
	}
	host, secure := endpoint.Host, endpoint.Scheme != "http"
	if c.Endpoint == "" {
		host = "s3.amazonaws.com"
	}
	client, err := minio.New(host, &minio.Options{
		Creds: c.credentials(), Secure: secure, Region: c.Region, Transport: c.HTTP,
		MaxRetries: 3, // of one request; what breaks off in between is taken up again by the worker
	})
	if err != nil {
		return nil, err
	}
	root := strings.Trim(path.Clean("/"+c.Root), "/")
	if root != "" {
		root += "/"
	}
	return s3Store{core: minio.Core{Client: client}, bucket: c.Bucket, root: root}, nil
}

func (c *S3Config) credentials() *credentials.Credentials {
	switch {
	case c.AccessKey != "":
		return credentials.NewStaticV4(c.AccessKey, c.SecretKey, "")
	case c.CredentialsFile != "":
		return credentials.NewFileAWSCredentials(c.CredentialsFile, "")
	}
	return credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}})
}

// List implements [Store].
func (s s3Store) List(ctx context.Context, prefix string) ([]Object, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var objects []Object
	for o := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.root + prefix}) {
		if o.Err != nil {
			return nil, s.refusal(prefix, o.Err)
		}
		name := strings.TrimPrefix(o.Key, s.root+prefix)
		if name == "" || strings.Contains(name, "/") || strings.HasPrefix(name, ".") {
			continue // the folder itself, deeper ones, hidden files
		}
		if len(objects) == objectsMax {
			return nil, tooManyObjects(prefix)
		}
		objects = append(objects, Object{Key: prefix + name, Name: name, SizeBytes: o.Size, Version: o.ETag})
	}
	if len(objects) == 0 {
		return nil, emptyFolder(prefix)
	}
	return objects, nil
}

// Open implements [Store].
func (s s3Store) Open(ctx context.Context, o Object, offset int64) (io.ReadCloser, error) {
	var options minio.GetObjectOptions
	if o.Version != "" {
		if err := options.SetMatchETag(o.Version); err != nil {
			return nil, err
		}
	}
	if offset > 0 {
		if err := options.SetRange(offset, 0); err != nil {
			return nil, err
		}
	}
	body, _, _, err := s.core.GetObject(ctx, s.bucket, s.root+o.Key, options)
	if err != nil {
		answer := minio.ToErrorResponse(err)
		if answer.StatusCode == http.StatusPreconditionFailed || answer.Code == minio.NoSuchKey {
			return nil, objectChanged(o)
		}
		return nil, s.refusal(o.Key, err)
	}
	return body, nil
}

// refusal makes a sentence of what the store refuses for good; the rest may pass.
func (s s3Store) refusal(name string, err error) error {
	answer := minio.ToErrorResponse(err)
	switch answer.Code {
	case minio.NoSuchBucket:
		return &berth.Error{Code: berth.CodeInvalid, Message: "The store has no bucket of the configured name; ask the server's owner to check imports.stores.", Err: err}
	case minio.AccessDenied, "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken":
		return &berth.Error{Code: berth.CodeInvalid, Message: "The store refuses Berth's credentials for " + name + "; ask the server's owner to check them.", Err: err}
	}
	var network *url.Error
	if errors.As(err, &network) { // without the address, which is the owner's
		return fmt.Errorf("reach the store: %w", network.Err)
	}
	return err
}
