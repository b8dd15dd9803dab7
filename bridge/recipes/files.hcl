# Files: a file that is put into a folder becomes an event, and an event a line of a file.
#
# Each command in a terminal of its own:
#
#   mkdir -p inbox journal
#   nemo-bridge run files.hcl
#   nemo-bridge tap 'file.**'
#   echo '{"id": 7}' > inbox/order.json
#   nemo-bridge emit order.placed '{"id": 7}' --wait
#   cat journal/orders.jsonl

integration "inbox" {
  type = "file"

  config {
    root     = "inbox" # beside this file; nothing outside of it is read
    interval = "1s"    # how often it looks for changes
  }
}

integration "journal" {
  type = "file"

  config {
    root   = "journal"
    append = true # each message is one more line; without this it replaces the file
  }
}

# A JSON file that appears, changes or goes → file.arrived.
subscription "arrivals" {
  integration = "inbox"
  topic       = "*.json"
  emit        = "file.arrived"
}

# All events whose type begins with order → one line each.
route "journal" {
  on          = ["order.**"]
  integration = "journal"
  operation   = "publish"
  topic       = "orders.jsonl"
  message     = event.payload
  delivery    = "at_least_once"
}

# Tests, which need no folder and no bus: nemo-bridge test files.hcl
test "a file that appears becomes an event" {
  step {
    message = "arrivals"
    topic   = "order.json"
    payload = { change = "created", path = "order.json", size = 9 }
  }

  expect {
    event   = "file.arrived"
    payload = { message = { change = "created", path = "order.json" } }
  }
}

test "an order becomes a line" {
  step {
    emit    = "order.placed"
    payload = { id = 7 }
  }

  expect {
    call    = "journal"
    topic   = "orders.jsonl"
    message = { id = 7 }
    times   = 1
  }
}
