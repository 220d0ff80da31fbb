<?php

declare(strict_types=1);

namespace App\Controller;

use App\Message\Chore;
use App\Message\Payment;
use Symfony\Component\HttpFoundation\JsonResponse;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpKernel\Attribute\AsController;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\DelayStamp;

/** Takes a list of {"name", "action"?, "data"? (base64), "delayMs"?, "isPayment"?}. */
#[AsController]
final class MessageController
{
    public function __construct(private readonly MessageBusInterface $bus)
    {
    }

    public function __invoke(Request $request): JsonResponse
    {
        foreach (json_decode($request->getContent(), true, flags: \JSON_THROW_ON_ERROR) as $work) {
            $class = $work['isPayment'] ?? false ? Payment::class : Chore::class;
            $message = new $class($work['name'], $work['action'] ?? 'work', base64_decode($work['data'] ?? ''));
            $this->bus->dispatch($message, isset($work['delayMs']) ? [new DelayStamp($work['delayMs'])] : []);
        }

        return new JsonResponse(getmypid());
    }
}
