<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Messenger;

use PHPUnit\Framework\TestCase;

final class SignalListenersTest extends TestCase
{
    /** As PHP-FPM is, whose container was built on a console. */
    public function testMessengersWorkerRunsWithoutPcntl(): void
    {
        self::assertSame('others were called: started, running', self::php(['-d', 'disable_functions=pcntl_signal,pcntl_signal_dispatch']));
    }

    public function testWherePcntlIsThereTheListenersStay(): void
    {
        if (!\extension_loaded('pcntl')) {
            self::markTestSkipped('This PHP has no pcntl.');
        }
        self::assertSame('others were called: started, running; signals are dispatched', self::php([]));
    }

    /** @param list<string> $options */
    private static function php(array $options): string
    {
        $process = proc_open([\PHP_BINARY, '-d', 'display_errors=1', '-d', 'log_errors=0', ...$options, \dirname(__DIR__).'/Fixtures/signals.php'], [1 => ['pipe', 'w']], $pipes);
        self::assertIsResource($process);
        $said = stream_get_contents($pipes[1]);
        proc_close($process);

        return trim((string) $said);
    }
}
