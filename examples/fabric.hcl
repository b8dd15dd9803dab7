# Bridges on several machines, joined over NATS with JetStream. Each machine has such a file; what differs is `offer`
# and `use`, and `node` where the host's name does not tell it.
integration "cluster" {
  type = "nats"

  endpoint {
    url = "nats://127.0.0.1:4222" # in real life tls://…, with `auth`: who can write there can speak to every bus
  }
}

integration "till" {
  type = "json-rpc"

  endpoint {
    url = "http://127.0.0.1:8087/rpc"
  }
}

fabric "plant" {
  integration = "cluster"
  node        = "desk-7"         # default: the host's name, and `-<name>` of the bridge where it has one
  export      = ["ticket.**"]    # events of this bus that the others may have
  import      = ["ticket.**"]    # events of the others that come onto this bus; their source is `<node>/<source>`
  offer       = ["till"]         # the others may use it as if it were their own
  use         = ["label_printer"] # another machine has it, and this file no `integration` block for it
  delivery    = "at_least_once"  # through the outbox and a stream; default at_most_once
  max_age     = "24h"            # how long the events of a node wait for one that is absent
  max_bytes   = "1GiB"           # all of them together; the oldest are removed
  replicas    = 1                # 3 on a cluster of three servers
}

# Wherever the printer is: the answer comes as if it were here, with `unavailable` where nobody offers it.
route "labels" {
  on          = ["ticket.opened"]
  integration = "label_printer"
  operation   = "request"
  method      = "print"
  params      = { text = event.payload.title }
  emit        = "ticket.labelled"
}

integration "watch" {
  type = "timer"

  config {
    every = "15m"
  }
}

# On each machine, but only one of them says it. If that dies, another goes on within 15 s.
subscription "stocktaking" {
  integration = "watch"
  topic       = "default"
  emit        = "stock.due"
  singleton   = "plant"
}

# nemo-bridge test examples/fabric.hcl; a test has this bridge alone, and a stand-in for what others offer.
test "a ticket gets its label" {
  remote "label_printer" {
    answers = [
      { error = "unavailable" },
      { result = { copies = 1 } },
    ]
  }

  step {
    emit    = "ticket.opened"
    payload = { title = "first" }
  }

  step {
    at      = "1s"
    emit    = "ticket.opened"
    payload = { title = "second" }
  }

  expect {
    event = "resilience.label_printer.failed"
    by    = "1s"
    times = 1
  }

  expect {
    event   = "ticket.labelled"
    by      = "2s"
    payload = { copies = 1 }
    times   = 1
  }

  expect {
    event = "stock.due"
    by    = "31m"
    times = 2
  }
}
