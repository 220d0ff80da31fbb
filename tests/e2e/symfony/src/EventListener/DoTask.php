<?php

declare(strict_types=1);

namespace App\EventListener;

use App\Event\Task;
use App\Journal;
use Fervo\DeferredEventBundle\Exception\UnrecoverableException;
use Symfony\Component\EventDispatcher\Attribute\AsEventListener;

#[AsEventListener('task')]
final class DoTask
{
    public function __construct(private readonly Journal $journal)
    {
    }

    public function __invoke(Task $task): void
    {
        $this->journal->write(sprintf(
            'task %s, queue %s, attempt %d of %d, %d ms after it was deferred, in a batch of %d',
            $task->name,
            $_SERVER['FERVO_QUEUE'],
            $_SERVER['FERVO_ATTEMPT'],
            $_SERVER['FERVO_MAX_ATTEMPTS'],
            1000 * (microtime(true) - $task->deferredAt),
            $_SERVER['FERVO_BATCH'] ?? 0,
        ));

        match ($task->action) {
            'work' => null,
            'exit' => exit('Bye'),
            'throw' => throw new \DomainException('The printer is on fire'),
            'bury' => throw new UnrecoverableException('There is no such customer'),
        };
    }
}
