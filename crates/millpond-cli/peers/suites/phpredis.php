<?php
// Runs each test of phpredis' class Redis_Test by itself, also behind one that throws an error, and
// prints a line for each: its name, a tab, and how it ended. Run in the folder of its tests.
define('PHPREDIS_TESTRUN', true);
error_reporting(E_ALL & ~E_DEPRECATED & ~E_WARNING & ~E_NOTICE);
$_SERVER['PHP_SELF'] = getcwd() . '/TestRedis.php'; // which says where the others are
require_once getcwd() . '/TestSuite.php';
require_once getcwd() . '/RedisTest.php';
[, $port] = $argv;

foreach ((new ReflectionClass('Redis_Test'))->getMethods(ReflectionMethod::IS_PUBLIC) as $method) {
    $name = $method->name;
    // Tests of sessions are of programs that connect to port 6379.
    if (!str_starts_with($name, 'test') || str_starts_with($name, 'testSession')) {
        continue;
    }
    Redis_Test::$errors = [];
    $test = new Redis_Test('127.0.0.1', (int) $port, null);
    try {
        $test->setUp();
        $test->$name();
        $ended = Redis_Test::$errors ? 'failed' : 'passed';
        $words = implode(' ', Redis_Test::$errors);
    } catch (TestSkippedException $skipped) {
        [$ended, $words] = ['skipped', ''];
    } catch (Throwable $thrown) {
        [$ended, $words] = ['failed', get_class($thrown) . ' ' . $thrown->getMessage()];
    }
    echo $name, "\t", $ended, "\t", strtr($words, "\n\t", '  '), "\n";
}
