"""One module a system: functions that answer its fixtures, registered with `fixture.adapter`."""
