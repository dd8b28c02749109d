import { Injectable } from '@nestjs/common';
import { Field, Int, ObjectType, Parent, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { type Batched, BatchedService, InjectBatched } from 'nest-batching';

@ObjectType()
export class Author {
  @Field(() => Int) id!: number;
  @Field(() => String) name!: string;
}

@ObjectType()
export class Post {
  @Field(() => Int) id!: number;
  @Field(() => String) title!: string;
  authorId!: number;
}

/** The application provides it. */
export abstract class Database {
  abstract posts(): Promise<Post[]>;
  /** `SELECT … WHERE id IN (…)`: those that exist, in any order. */
  abstract authors(ids: readonly number[]): Promise<Author[]>;
}

@Injectable()
export class Authors {
  constructor(private readonly database: Database) {}

  @BatchedService(100, 2, { keyBy: (id: number) => id, coalesce: true })
  async byId(ids: readonly number[]): Promise<Map<number, Author>> {
    const authors = await this.database.authors(ids);
    return new Map(authors.map((author) => [author.id, author]));
  }
}

@Resolver(() => Post)
export class PostsResolver {
  constructor(
    private readonly database: Database,
    @InjectBatched(Authors) private readonly authors: Batched<Authors>,
  ) {}

  @Query(() => [Post])
  posts(): Promise<Post[]> {
    return this.database.posts();
  }

  @ResolveField(() => Author, { nullable: true })
  author(@Parent() post: Post): Promise<Author> {
    return this.authors.byId(post.authorId);
  }
}
