<?php

declare(strict_types=1);

namespace App\Controller;

use App\Event\Task;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Event\DeferEvent;
use Symfony\Component\HttpFoundation\JsonResponse;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpKernel\Attribute\AsController;
use Symfony\Contracts\EventDispatcher\EventDispatcherInterface;

/** Takes a list of {"name", "action"?, "options"?: {"delay"?, "queue"?, "priority"?, "attempts"?}}. */
#[AsController]
final class TaskController
{
    public function __construct(private readonly EventDispatcherInterface $dispatcher)
    {
    }

    public function __invoke(Request $request): JsonResponse
    {
        foreach (json_decode($request->getContent(), true, flags: \JSON_THROW_ON_ERROR) as $task) {
            $event = new Task($task['name'], $task['action'] ?? 'work');
            $this->dispatcher->dispatch(new DeferEvent('task', $event, new DeferOptions(...$task['options'] ?? [])));
        }

        return new JsonResponse(getmypid());
    }
}
