<?php

declare(strict_types=1);

namespace App\Handler;

use App\Message\Task;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Messenger\Exception\RecoverableMessageHandlingException;
use Symfony\Component\Messenger\Exception\StopWorkerException;
use Symfony\Component\Messenger\Exception\UnrecoverableMessageHandlingException;
use Symfony\Component\Messenger\MessageBusInterface;

/** Ends as the message says. */
final class DoTask
{
    public function __construct(private readonly Ledger $ledger, private readonly MessageBusInterface $bus)
    {
    }

    public function __invoke(Task $task): void
    {
        $before = $this->ledger->begin('DoTask', $task->name);
        match ($task->action) {
            'ok', 'delayed' => null,
            'fails twice' => $before < 2 && throw new \DomainException("The printer is warming up, try $before"),
            'fails' => throw new \DomainException('The printer is on fire'),
            'unrecoverable' => throw new UnrecoverableMessageHandlingException('There is no such customer'),
            'unrecoverable once' => $before < 1 && throw new UnrecoverableMessageHandlingException('There is no such customer yet'),
            'recoverable' => $before < 3 && throw new RecoverableMessageHandlingException('The paper is empty'),
            'recoverable later' => $before < 1 && throw $this->recoverable(3000),
            'exit' => exit(3),
            'exit once' => $before < 1 && exit(3),
            'fatal error' => eval('final class Fatal { abstract function error(); }'),
            'memory' => str_repeat('x', 100 << 20),
            'runs too long' => sleep(3),
            'dispatches' => $this->dispatch($task, "$before"),
            'dispatches and fails' => [$this->dispatch($task, "$before"), throw new \DomainException('The printer is on fire')],
            'stops the worker' => throw new StopWorkerException('The house is on fire'),
            'prints' => print("\x1eNot an answer\n"),
        };
        $this->ledger->write('end', 'DoTask', $task->name);
    }

    private function recoverable(int $delay): \Throwable
    {
        $more = Kernel::VERSION_ID >= 70200 ? ['retryDelay' => $delay] : [];

        return new RecoverableMessageHandlingException('The paper is empty', ...$more);
    }

    private function dispatch(Task $task, string $suffix): void
    {
        $this->bus->dispatch(new Task("$task->name-child$suffix", $task->transport, 'ok'));
    }
}
