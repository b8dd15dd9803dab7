# A directory: files that other programs put into it become events, and events become files.
integration "exchange" {
  type = "file"

  config {
    root     = "exchange"         # nothing outside of it is read or written; links are not followed
    interval = "500ms"            # how often it looks for changes
  }
}

integration "journal" {
  type = "file"

  config {
    root   = "journal"
    append = true                 # publish appends a line instead of replacing the file
  }
}

subscription "arrivals" {
  integration = "exchange"
  topic       = "inbox/*.json"    # a glob: files that are created, changed or deleted
  emit        = "exchange.arrived"
}

subscription "log_lines" {
  integration = "exchange"
  topic       = "tail:logs/*.log" # lines that are appended
  emit        = "exchange.line"
}

route "journal" {
  on          = ["order.**"]
  integration = "journal"
  operation   = "publish"
  topic       = "orders.jsonl"
  message     = event.payload
}

# nemo-bridge test examples/file.hcl
test "an order becomes a line of the journal" {
  step {
    emit    = "order.placed"
    payload = { id = 7 }
  }

  expect {
    call    = "journal"
    by      = "1s"
    topic   = "orders.jsonl"
    message = { id = 7 }
    times   = 1
  }
}

test "an appended line becomes an event" {
  step {
    message = "log_lines"
    topic   = "logs/today.log"
    payload = "the door is open"
  }

  expect {
    event   = "exchange.line"
    by      = "1s"
    payload = { topic = "logs/today.log", message = "the door is open" }
  }
}
