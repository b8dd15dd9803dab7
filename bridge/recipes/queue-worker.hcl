# Queue worker: each job of a queue becomes a call of a worker, until the worker has done it.
#
# Needs a Redis server on this machine. The worker has a stand-in. Each command in a terminal of its own:
#
#   nemo-bridge mock worker.hcl
#   nemo-bridge run worker.hcl
#   nemo-bridge tap 'job.**' 'receipt.**'
#   nemo-bridge emit job.wanted '{"id": 7, "task": "resize"}' --wait

variable "redis_url" {
  env     = "REDIS_URL" # rediss://… for TLS
  default = "redis://127.0.0.1:6379/0"
}

variable "worker_url" {
  env     = "WORKER_URL"
  default = "http://127.0.0.1:8080"
}

integration "queue" {
  type = "redis"

  endpoint {
    url = var.redis_url
  }

  config {
    group      = "workers" # bridges with the same group share the jobs
    max_length = 100000
  }
}

integration "worker" {
  type = "json-rpc"

  endpoint {
    url = "${var.worker_url}/rpc"
  }

  config {
    idempotent = ["jobs.run"] # the worker knows a job by its id, so a job may be given to it again
  }

  resilience {
    timeout = "1m" # a job may take so long

    limit {
      max_in_flight = 4 # so many jobs run at the same time
    }
  }
}

# Any program puts a job into the queue with the event job.wanted.
route "wanted" {
  on          = ["job.wanted"]
  integration = "queue"
  operation   = "enqueue"
  queue       = "jobs"
  message     = event.payload
}

# The next job of the queue becomes the event job.next. It leaves the queue when the bridge has it on its disk.
subscription "jobs" {
  integration = "queue"
  queue       = "jobs"
  emit        = "job.next"
}

# job.next → jobs.run; the result becomes the event job.done. A job that cannot be done is a dead letter, which
# `nemo-bridge dead-letters` shows.
route "run" {
  on          = ["job.next"]
  integration = "worker"
  operation   = "request"
  method      = "jobs.run"
  params      = event.payload.message
  emit        = "job.done"
  delivery    = "at_least_once"
  receipts    = true
}

# Tests, which need no Redis, no worker and no bus: nemo-bridge test worker.hcl
test "a job is put into the queue" {
  step {
    emit    = "job.wanted"
    payload = { id = 7, task = "resize" }
  }

  expect {
    call    = "queue"
    queue   = "jobs"
    message = { id = 7, task = "resize" }
    times   = 1
  }
}

test "a job is given to the worker until it is done" {
  remote "worker" {
    answers = [ # in order; the last one repeats
      { error = "unavailable" },
      { result = { size = 640 }, after = "20s" },
    ]
  }

  step { # an entry of the queue
    message = "jobs"
    payload = { id = 7, task = "resize" }
  }

  expect {
    call   = "worker"
    method = "jobs.run"
    params = { id = 7, task = "resize" }
    times  = 2
  }
  expect {
    event   = "job.done"
    payload = { size = 640 }
  }
  expect {
    event = "receipt.worker.delivered"
    times = 1
  }
}
