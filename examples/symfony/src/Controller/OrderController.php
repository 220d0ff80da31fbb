<?php

declare(strict_types=1);

namespace App\Controller;

use App\Event\InvoiceDue;
use App\Event\OrderPlaced;
use Fervo\DeferredEventBundle\Event\DeferEvent;
use Symfony\Component\HttpFoundation\JsonResponse;
use Symfony\Component\HttpKernel\Attribute\AsController;
use Symfony\Contracts\EventDispatcher\EventDispatcherInterface;

#[AsController]
final class OrderController
{
    public function __construct(private readonly EventDispatcherInterface $dispatcher)
    {
    }

    public function __invoke(int $number): JsonResponse
    {
        // The listeners of this event run now, except for the listener with #[AsDeferredListener].
        $this->dispatcher->dispatch(new OrderPlaced($number));

        // All listeners of the inner event run later, in a worker.
        $this->dispatcher->dispatch(new DeferEvent('invoice.due', new InvoiceDue($number)));

        return new JsonResponse(['order' => $number, 'process' => getmypid()], JsonResponse::HTTP_CREATED);
    }
}
