<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Psr\Container\ContainerInterface;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Transport\Sender\SenderInterface;

/**
 * A sender of the application, which is made when it is needed: PHP-FPM may lack what a transport needs, and most are never used there.
 *
 * @internal
 */
final class Sender implements SenderInterface
{
    public function __construct(private readonly ContainerInterface $senders, private readonly string $name)
    {
    }

    public function get(): SenderInterface
    {
        return $this->senders->get($this->name);
    }

    public function send(Envelope $envelope): Envelope
    {
        return $this->get()->send($envelope);
    }
}
