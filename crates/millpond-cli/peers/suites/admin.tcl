# Sourced behind the suite's own client, on both sides alike. Commands for operators go to the
# server itself, since the suite prepares its tests by them, and what it tests is other commands.
# What a test that failed left on its connection is cleared, since it would fail the next ones too.
set ::admin_commands {
    config debug save bgsave bgrewriteaof slowlog pfdebug pfselftest {script kill} {function kill}
}
set ::admin_client {}

proc is_for_operators {method argv} {
    set command [string tolower $method]
    set subcommand [string tolower [lindex $argv 0]]
    expr {
        ($command in $::admin_commands || "$command $subcommand" in $::admin_commands)
        && $subcommand ne {protocol}
    }
}

proc admin {args} {
    if {$::admin_client eq {}} {
        set ::admin_client [redis 127.0.0.1 $::env(ADMIN_PORT)]
        $::admin_client reconnect 1
    }
    $::admin_client {*}$args
}

rename ::redis::__dispatch__raw__ ::redis::__dispatch__to_its_server__
proc ::redis::__dispatch__raw__ {id method argv} {
    set goes_direct [expr {
        $::env(ADMIN_PORT) ne $::port
        && [::is_for_operators $method $argv]
        && $::redis::blocking($id) && !$::redis::deferred($id)
        && [lindex $::redis::addr($id) 1] eq $::port
    }]
    if {$goes_direct} {
        return [::admin $method {*}$argv]
    }
    uplevel 1 [list ::redis::__dispatch__to_its_server__ $id $method $argv]
}

proc clear_connection {raw} {
    catch {admin script kill}
    catch {admin function kill}
    catch {r readraw 0}
    catch {r discard}
    catch {r unwatch}
    if {[catch {r ping} reply] || $reply ne {PONG}} {
        catch reconnect
    }
    catch {r readraw $raw}
}

rename test ::test_as_it_is
proc test {args} {
    set failed $::num_failed
    set raw 0
    catch {set raw [r readingraw]}
    uplevel 1 [list ::test_as_it_is {*}$args]
    if {$::num_failed > $failed} {
        clear_connection $raw
    }
}
