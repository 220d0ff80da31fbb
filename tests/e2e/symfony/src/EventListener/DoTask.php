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
            'task %s, queue %s, attempt %d of %d, %d ms after it was deferred',
            $task->name,
            getenv('FERVO_QUEUE'),
            getenv('FERVO_ATTEMPT'),
            getenv('FERVO_MAX_ATTEMPTS'),
            1000 * (microtime(true) - $task->deferredAt),
        ));

        match ($task->action) {
            'work' => null,
            'exit' => exit('Bye'),
            'throw' => throw new \DomainException('The printer is on fire'),
            'bury' => throw new UnrecoverableException('There is no such customer'),
        };
    }
}
