<?php

declare(strict_types=1);

namespace App\MessageHandler;

use App\Journal;
use App\Message\Work;
use Symfony\Component\Messenger\Attribute\AsMessageHandler;
use Symfony\Component\Messenger\Exception\UnrecoverableMessageHandlingException;
use Symfony\Contracts\Service\ResetInterface;

#[AsMessageHandler]
final class DoWork implements ResetInterface
{
    private int $sinceReset = 0;

    public function __construct(private readonly Journal $journal)
    {
    }

    public function __invoke(Work $work): void
    {
        $this->journal->write(sprintf(
            'message %s, data "%s", queue %s, attempt %d of %d, %d ms after it was sent, %d since a reset, in a batch of %d',
            $work->name,
            bin2hex($work->data),
            $_SERVER['FERVO_QUEUE'],
            $_SERVER['FERVO_ATTEMPT'],
            $_SERVER['FERVO_MAX_ATTEMPTS'],
            1000 * (microtime(true) - $work->sentAt),
            ++$this->sinceReset,
            $_SERVER['FERVO_BATCH'] ?? 0,
        ));

        match ($work->action) {
            'work' => null,
            'exit' => exit('Bye'),
            'kill' => posix_kill(getmypid(), 9),
            'throw' => throw new \DomainException('The printer is on fire'),
            'throw first' => $this->isFirst($work->name) ? throw new \DomainException('The printer is warming up') : null,
            'exit first' => $this->isFirst($work->name) ? exit('Bye') : null,
            'bury' => throw new UnrecoverableMessageHandlingException('There is no such customer'),
        };
    }

    public function reset(): void
    {
        $this->sinceReset = 0;
    }

    private function isFirst(string $name): bool
    {
        return (bool) @mkdir(\dirname(__DIR__, 2).'/var/first-'.$name);
    }
}
