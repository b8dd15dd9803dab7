# Cron: at fixed times a service is called.
#
# Try it without the service, each command in a terminal of its own:
#
#   nemo-bridge mock cron.hcl
#   nemo-bridge run cron.hcl
#   nemo-bridge tap 'timer.**' 'report.**'

variable "reports_url" {
  env     = "REPORTS_URL"
  default = "http://127.0.0.1:8080"
}

integration "clock" {
  type = "timer"

  config {
    schedule "nightly" {
      cron      = "0 3 * * *" # minute hour day month weekday
      time_zone = "Europe/Berlin"
    }

    schedule "pulse" {
      every       = "10s"
      immediately = true
    }
  }
}

integration "reports" {
  type = "json-rpc"

  endpoint {
    url = "${var.reports_url}/rpc"
  }

  config {
    idempotent = ["reports.create", "reports.refresh"] # a call whose answer is lost is made again
  }
}

# Each tick becomes an event: timer.nightly, timer.pulse.
subscription "ticks" {
  integration = "clock"
  topic       = "*"
  emit        = "timer.${message.topic}"
}

# At 03:00 Berlin time → reports.create. If the service is away, the call is made as soon as it is back.
route "nightly" {
  on          = ["timer.nightly"]
  integration = "reports"
  operation   = "request"
  method      = "reports.create"
  params = {
    scheduled_at = event.payload.message.scheduled_at
  }
  delivery = "at_least_once"
  emit     = "report.created"
}

# Every ten seconds → reports.refresh. If the service is away, the call is left out.
route "pulse" {
  on          = ["timer.pulse"]
  integration = "reports"
  operation   = "request"
  method      = "reports.refresh"
  emit        = "report.refreshed"
}

# Tests on a virtual clock, which need no service and no bus: nemo-bridge test cron.hcl
test "a report is created at night" {
  lasts = "3h" # a test begins at midnight UTC, which is one o'clock in Berlin in winter

  remote "reports" {
    answers = [{ result = { number = 1 } }]
  }

  expect {
    call   = "reports"
    method = "reports.create"
    times  = 1
  }
  expect {
    event   = "report.created"
    payload = { number = 1 }
  }
}

test "the report is refreshed" {
  expect {
    call   = "reports"
    method = "reports.refresh"
    by     = "25s"
    times  = 3
  }
}
