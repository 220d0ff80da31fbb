<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests;

use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use PHPUnit\Framework\TestCase;

final class DeferOptionsTest extends TestCase
{
    public function testDelays(): void
    {
        self::assertNull((new DeferOptions())->delayMs);
        self::assertSame(0, (new DeferOptions(delay: 0))->delayMs);
        self::assertSame(2000, (new DeferOptions(delay: 2))->delayMs);
        self::assertSame(1500, (new DeferOptions(delay: 1.5))->delayMs);
        self::assertSame(90_000, (new DeferOptions(delay: new \DateInterval('PT1M30S')))->delayMs);
    }

    public function testWhatIsNotSaidIsAsTheOthersSay(): void
    {
        $options = (new DeferOptions(queue: 'a'))->orElse(new DeferOptions(delay: 0, queue: 'b'), new DeferOptions(delay: 2, attempts: 3, priority: 4, unique: 'key'));

        self::assertSame([0, 'a', 4, 3, 'key'], [$options->delayMs, $options->queue, $options->priority, $options->attempts, $options->unique]);
    }

    /** @dataProvider wrong */
    #[\PHPUnit\Framework\Attributes\DataProvider('wrong')]
    public function testRefuses(array $options, string $message): void
    {
        $this->expectException(InvalidOptionException::class);
        $this->expectExceptionMessage($message);

        new DeferOptions(...$options);
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function wrong(): iterable
    {
        $past = new \DateInterval('PT1S');
        $past->invert = 1;
        yield 'a delay below 0' => [['delay' => -1], 'The delay is -1 seconds'];
        yield 'a delay in the past' => [['delay' => $past], 'The delay is -1 seconds'];
        yield 'a delay that is no number' => [['delay' => \NAN], 'The delay is'];
        yield 'a delay beyond all times' => [['delay' => 1e300], 'The delay is'];
        yield 'no attempts' => [['attempts' => 0], 'The number of attempts is 0'];
        yield 'more attempts than a database can hold' => [['attempts' => \PHP_INT_MAX], 'at most 2147483647'];
        yield 'a priority that no queue can hold' => [['priority' => \PHP_INT_MIN], 'from -2147483647 to 2147483647'];
        yield 'a queue with a blank' => [['queue' => 'my queue'], 'The queue "my queue" is not valid'];
        yield 'a queue with a newline' => [['queue' => "mail\n"], 'is not valid'];
        yield 'an empty unique key' => [['unique' => ''], 'The unique key is not valid'];
        yield 'a long unique key' => [['unique' => str_repeat('ä', 256)], 'it has 1 to 255 characters'];
        yield 'a unique key that is no text' => [['unique' => "\xff"], 'in UTF-8'];
        yield 'a unique key that no database can hold' => [['unique' => "a\0"], 'no NUL'];
        yield 'an empty queue' => [['queue' => ''], 'is not valid'];
    }
}
