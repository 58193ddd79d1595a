// An S3 server over a folder: versitygw without the clouds that it can stand before, and without its tests.
//
//	ROOT_ACCESS_KEY=... ROOT_SECRET_KEY=... posix ADDRESS:PORT REGION FOLDER
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	address, region, folder := os.Args[1], os.Args[2], os.Args[3]
	store, err := posix.New(folder, meta.XattrMeta{}, posix.PosixOpts{Concurrency: 5000})
	if err != nil {
		log.Fatal(err)
	}
	until, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err = embedgw.RunVersityGW(until, store, &embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		Region:            region,
		Ports:             []string{address},
		MaxConnections:    10000,
		MaxRequests:       5000,
		MultipartMaxParts: 10000,
		Quiet:             true,
	})
	if err != nil {
		log.Fatal(err)
	}
}
