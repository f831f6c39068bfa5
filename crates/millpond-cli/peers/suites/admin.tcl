# Sourced behind the suite's own client, on both sides alike. Commands for operators go to the server
# itself, since the suite prepares its tests by them, and what it tests is other commands. After a test
# that failed its connection is replaced: what the test left on it would fail the next ones too.
set ::admin_commands {config debug save bgsave bgrewriteaof slowlog pfdebug pfselftest}
set ::admin_client {}

rename ::redis::__dispatch__raw__ ::redis::__dispatch__to_its_server__
proc ::redis::__dispatch__raw__ {id method argv} {
    set is_for_operators [expr {
        $::env(ADMIN_PORT) ne $::port
        && [string tolower $method] in $::admin_commands
        && [string tolower [lindex $argv 0]] ne {protocol}
        && $::redis::blocking($id) && !$::redis::deferred($id)
        && [lindex $::redis::addr($id) 1] eq $::port
    }]
    if {!$is_for_operators} {
        return [uplevel 1 [list ::redis::__dispatch__to_its_server__ $id $method $argv]]
    }
    if {$::admin_client eq {}} {
        set ::admin_client [redis 127.0.0.1 $::env(ADMIN_PORT)]
        $::admin_client reconnect 1
    }
    $::admin_client $method {*}$argv
}

rename test ::test_as_it_is
proc test {args} {
    set failed $::num_failed
    uplevel 1 [list ::test_as_it_is {*}$args]
    if {$::num_failed > $failed} {
        catch reconnect
    }
}
