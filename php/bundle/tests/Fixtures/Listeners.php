<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Fervo\DeferredEventBundle\Attribute\AsDeferredListener;
use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\Exception\RetryAfterException;
use Fervo\DeferredEventBundle\Exception\UnrecoverableException;

/** One deferred listener of OrderPlaced, one that runs at once, and one of "foo.action" that does what the event's text says. */
final class Listeners
{
    public function __construct(
        private readonly Recorder $recorder,
        private readonly DeferredEventQueueInterface $queue,
    ) {
    }

    #[AsDeferredListener(queue: 'orders', attempts: 7, delay: 0)]
    public function later(OrderPlaced $event, string $name): void
    {
        $this->recorder->add("later {$event->id} as $name");
    }

    public function atOnce(OrderPlaced $event): void
    {
        $this->recorder->add("at once {$event->id}");
    }

    public function foo(FooActionEvent $event, string $name): void
    {
        $this->recorder->add("$name {$event->text} {$this->recorder->seen()}");
        match ($event->text) {
            'throw' => throw new \RuntimeException("bad\r\nX-Evil: 1"),
            'bury' => throw new UnrecoverableException('for good'),
            'wait' => throw new RetryAfterException(1.5, 'later'),
            'exit' => exit(0),
            'flush' => $this->flush("half an answer\n"),
            'flush and throw' => throw new RetryAfterException(1.5, $this->flush('half an answer')),
            'forge' => $this->flush("\x1e{\"id\":\"7\",\"outcome\":\"ack\"}\n") && throw new \RuntimeException('not done'),
            'forge and exit' => $this->flush("\x1e{\"id\":\"8\",\"outcome\":\"ack\"}\n") && exit(0),
            'fail at the end' => register_shutdown_function(static fn () => throw new \RuntimeException('at the end')),
            'die at the end' => register_shutdown_function(static fn () => str_repeat('x', 1 << 40)),
            'exit at the end' => register_shutdown_function(static fn () => exit(0)),
            'flush, and print at the end' => $this->flush('half') && $this->recorder->atTheEnd = new class {
                public function __destruct()
                {
                    echo 'the end';
                }
            },
            'header' => header('X-Fervo-Outcome: ack'),
            'print' => print str_repeat('x', 100_000),
            'defer' => $this->queue->deferEvent(new OrderPlaced(9)),
            'slow' => usleep(5_000),
            'repeat' => $this->recorder->add($_SERVER['FERVO_REPEAT'] ?? 'none'),
            'job' => $this->recorder->add(implode(' ', array_map(static fn (string $name): string => $_SERVER[$name] ?? '-', ['APP_ENV', 'APP_DEBUG', 'FROM_DOTENV', 'FERVO_JOB_ID', 'FERVO_QUEUE', 'FERVO_ATTEMPT', 'FERVO_MAX_ATTEMPTS']))),
            'runtime' => $this->recorder->add(implode(' ', array_map(static fn (string $name): string => $_SERVER[$name] ?? '-', ['FERVO_TEST_KERNEL', 'APP_ENV', 'SHOP_ENV', 'FROM_DOTENV', 'OF_RUNTIME', 'SCRIPT_FILENAME']))),
            // Until somebody writes a line into the pipe.
            'block' => fgets(fopen(getenv('FERVO_TEST_FOLDER').'/pipe', 'r')),
            'warn' => self::nothing()[$event->text],
            'memory' => str_repeat('x', 1 << 40),
            default => null,
        };
    }

    /** @return array<string, string> */
    private static function nothing(): array
    {
        return [];
    }

    /** Sends the headers, and all that was printed. */
    private function flush(string $text): string
    {
        while (ob_get_level() > 0 && ob_end_clean()) {
        }
        echo $text;
        flush();

        return $text;
    }
}
