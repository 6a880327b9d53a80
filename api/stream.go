package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// DeploymentEvent is the data of one frame of GET /api/v1/deployments/{id}/stream: the
// deployment after a change of its status or ready capacity.
type DeploymentEvent struct {
	DeployedModel string `json:"deployed_model"`
	Status        Status `json:"status"`
	Capacity      int64  `json:"capacity"`
	ReadyCapacity int64  `json:"ready_capacity"`
	GMTModified   string `json:"gmt_modified"` // see [ParseTime]
	Message       string `json:"message"`      // for people; "" for keys of role inference
}

// StreamDeployment calls seen with the present state of a deployment and then with every
// change, until nothing is under way any more: then it returns nil. An error of seen ends
// it, and so does a stream that breaks off; what the server reports is an [*Error].
func (c *Client) StreamDeployment(ctx context.Context, deployedModel string, seen func(DeploymentEvent) error) error {
	response, err := c.send(ctx, request{path: deploymentPath(deployedModel) + "/stream"})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLineBytes)
	var last DeploymentEvent
	status, failed := 0, false
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		switch string(name) {
		case "event":
			failed = string(bytes.TrimSpace(value)) == "error"
		case "status":
			status, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		case "data":
			if failed {
				e := &Error{Status: status}
				if err := json.Unmarshal(value, e); err != nil {
					return fmt.Errorf("read the error of the stream: %w", err)
				}
				return e
			}
			last = DeploymentEvent{}
			if err := json.Unmarshal(value, &last); err != nil {
				return fmt.Errorf("read an event of the stream: %w", err)
			}
			if err := seen(last); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	if !last.Status.Settled() {
		return fmt.Errorf("the stream of %s was cut off: %w", deployedModel, io.ErrUnexpectedEOF)
	}
	return nil
}
