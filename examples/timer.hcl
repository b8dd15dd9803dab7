# Timers. Each tick is an event. Its message is {"scheduled_at": <Unix ms>, "missed": <number of missed ticks>}.
integration "clock" {
  type = "timer"

  config {
    schedule "poll" {
      every       = "10s"
      jitter      = "2s"
      immediately = true
    }

    # minute hour day month weekday; at 03:00 Berlin time, in summer and winter
    schedule "nightly" {
      cron      = "0 3 * * *"
      time_zone = "Europe/Berlin"
    }
  }
}

subscription "poll" {
  integration = "clock"
  topic       = "poll"            # the name of a schedule, or "*" for all schedules
  emit        = "timer.poll"
}

subscription "nightly" {
  integration = "clock"
  topic       = "nightly"
  emit        = "timer.nightly"
}

# nemo-bridge test examples/timer.hcl
test "the poll ticks at once, and then every ten seconds" {
  expect {
    event = "timer.poll"
    by    = "25s"
    times = 3
  }
}
