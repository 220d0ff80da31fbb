<?php

declare(strict_types=1);

namespace Fervo\Runner\Tests;

use Fervo\Runner\Outcome;
use PHPUnit\Framework\TestCase;

final class OutcomeTest extends TestCase
{
    public function testRecords(): void
    {
        $pid = getmypid();

        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"ack\"}\n", Outcome::ack()->toRecord('7'));
        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"retry\",\"error\":\"RuntimeException: a/b\",\"pid\":$pid}\n", Outcome::retry(new \RuntimeException('a/b'))->toRecord('7'));
        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"retry\",\"error\":\"busy\",\"delay_ms\":0,\"pid\":$pid}\n", Outcome::retry('busy', -1)->toRecord('7'));
        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"bury\",\"error\":\"no \u{fffd} order\",\"pid\":$pid}\n", str_replace('\ufffd', "\u{fffd}", Outcome::bury("no \xff order")->toRecord('7')));
    }

    public function testTheErrorIsOneShortLineInUtf8(): void
    {
        foreach (['', 'x', 'xx'] as $before) {
            $error = Outcome::retry(new \Exception("a\r\nX-Fervo-Outcome: ack\0\t".$before.str_repeat('ö', 1000)))->error;

            self::assertSame(1, preg_match('/^Exception: a X-Fervo-Outcome: ack x{0,2}ö+…$/Du', (string) $error));
            self::assertGreaterThan(997, \strlen((string) $error));
            self::assertLessThanOrEqual(1000, \strlen((string) $error));
        }
    }

    public function testAnAnonymousClassHasNoPath(): void
    {
        self::assertStringStartsWith('Exception@anonymous ', (string) Outcome::bury(new class('no') extends \Exception {})->error);
    }
}
