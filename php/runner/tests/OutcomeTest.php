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

    public function testRecordsForFrameworks(): void
    {
        $pid = getmypid();

        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"begun\"}\n", Outcome::begunRecord('7'));
        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"handled\",\"error\":\"no order\",\"pid\":$pid}\n", Outcome::handled("no\norder")->toRecord('7'));
        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"release\",\"delay_ms\":500}\n", Outcome::release(500)->toRecord('7'));
        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"ack\",\"queue_pause_ms\":60000}\n", Outcome::ack()->pausingQueue(3_600_000)->toRecord('7'));
        self::assertSame("\x1e{\"id\":\"7\",\"outcome\":\"release\",\"delay_ms\":0,\"queue_pause_ms\":0}\n", Outcome::release(-1)->pausingQueue(-1)->toRecord('7'));
    }

    /** Exactly as many bytes as the line says, whatever they are. */
    public function testTheMessageBehindAReplaceIsBinarySafe(): void
    {
        $pid = getmypid();
        foreach (['', "\x1e\n\0", "{}\n", str_repeat("\xff", 100_000)] as $body) {
            $bytes = \strlen($body);
            self::assertSame(
                "\x1e{\"id\":\"7\",\"outcome\":\"replace\",\"error\":\"busy\",\"delay_ms\":2000,\"pid\":$pid,\"headers_bytes\":24,\"bytes\":$bytes}\n{\"type\":\"App/Ö\",\"1\":\"\"}".$body,
                Outcome::replace($body, ['type' => 'App/Ö', '1' => ''], 2000, 'busy')->toRecord('7'),
            );
        }
        self::assertStringEndsWith(",\"headers_bytes\":2,\"bytes\":2}\n{}hi", Outcome::replace('hi', [], 0, 'busy')->toRecord('7'));
    }

    public function testAHeaderThatIsNoTextIsNotReplaced(): void
    {
        $this->expectException(\JsonException::class);
        Outcome::replace('', ['type' => "\xff"], 0, 'busy');
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
