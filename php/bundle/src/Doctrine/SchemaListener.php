<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\ORM\Tools\Event\GenerateSchemaEventArgs;

/**
 * Has Doctrine's migrations and schema tool know the table of `send: transactional`.
 *
 * @internal
 */
final class SchemaListener
{
    public function __construct(private readonly OutboxTable $table)
    {
    }

    public function postGenerateSchema(GenerateSchemaEventArgs $event): void
    {
        if ($this->table->isOn($event->getEntityManager()->getConnection())) {
            $this->table->addTo($event->getSchema());
        }
    }
}
